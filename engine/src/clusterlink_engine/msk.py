"""Tokens of Amazon MSK's IAM access control: a signed URL that OAUTHBEARER carries, made by the signer of AWS (an extra)."""

from clusterlink_engine.token_endpoint import TokenError

_INSTALL = "pip install 'clusterlink-engine[msk]'"


def sign(region: str, key_id: str, secret: str) -> tuple[str, float]:
    """Makes a token, and answers it with the time of its end in seconds since 1970.

    Args:
        region: Of the cluster.
        key_id: Of an access key; empty for whatever identity the machine has (environment, profile, role).
        secret: Of the access key.

    Raises:
        TokenError: The extra is not installed, or the machine has no identity.
    """
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        from botocore.credentials import CredentialProvider, Credentials
    except ImportError as error:
        raise TokenError(f"AWS_MSK_IAM needs an extra of the engine: {_INSTALL}") from error

    class Given(CredentialProvider):  # type: ignore[misc] # untyped
        """The access key that was given."""

        def load(self) -> Credentials:
            """Answers it."""
            return Credentials(key_id, secret)

    try:
        if key_id:
            token, until = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(region, Given())
        else:
            token, until = MSKAuthTokenProvider.generate_auth_token(region)
    except Exception as error:
        raise TokenError(f"no token for MSK could be signed: {type(error).__name__}") from error
    return str(token), until / 1000
