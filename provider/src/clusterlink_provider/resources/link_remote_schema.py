"""How a link reaches its remote cluster: that part of the schema of `clusterlink_link`."""

from clusterlink_provider.framework import cty
from clusterlink_provider.framework.schema import Attribute
from clusterlink_provider.resources import checks

PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER, AWS_MSK_IAM = "OAUTHBEARER", "AWS_MSK_IAM"


def _secret(name: str, what: str) -> dict[str, Attribute]:
    """Makes the three attributes of a secret: kept in the state, or written only, with a number that tells of a change."""
    only, number = f"{name}_wo", f"{name}_wo_version"
    return {
        name: Attribute(
            description=f"{what}, kept in Terraform's state. Default: none, then `{only}` is needed. A change is made in "
            "place.",
            type=cty.STRING,
            optional=True,
            sensitive=True,
            validators=(checks.not_blank,),
        ),
        only: Attribute(
            description=f"{what}, kept in no plan and no state (write-only: Terraform 1.11, OpenTofu 1.11 or newer). Default: "
            f"none, then `{name}` is needed. A change is only seen by a change of `{number}`.",
            type=cty.STRING,
            optional=True,
            sensitive=True,
            write_only=True,
            validators=(checks.not_blank,),
        ),
        number: Attribute(
            description=f"Number of what is in `{only}`; needed with it. Default: none. A change sends that again, in place.",
            type=cty.NUMBER,
            optional=True,
            validators=(checks.at_least(0, "versions"),),
        ),
    }


_OAUTH = {
    "token_endpoint_url": Attribute(
        description="Token endpoint that the engine asks (client credentials grant): https, or http to the engine's own "
        "machine. A change is made in place.",
        type=cty.STRING,
        required=True,
        validators=(checks.not_blank,),
    ),
    "client_id": Attribute(
        description="Name of the client that the tokens are for. A change is made in place.",
        type=cty.STRING,
        required=True,
        validators=(checks.not_blank,),
    ),
    **_secret("client_secret", "Secret of the client"),
    "scope": Attribute(
        description="Scopes to ask for, with spaces between them. Default: none, and the endpoint decides. A change is made in "
        "place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    "parameters": Attribute(
        description="What else the endpoint is sent, such as `audience`; no secrets. Default: nothing. A change is made in "
        "place.",
        type=cty.map_of(cty.STRING),
        optional=True,
        validators=(checks.not_empty,),
    ),
    "extensions": Attribute(
        description="What brokers are sent beside the token, such as `logicalCluster`. Default: nothing. A change is made in "
        "place.",
        type=cty.map_of(cty.STRING),
        optional=True,
        validators=(checks.not_empty,),
    ),
    "ca_pem": Attribute(
        description="Certificates (PEM) of the authorities that may have signed that of the endpoint. Default: those that the "
        "engine's machine trusts. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
}

_SASL = {
    "mechanism": Attribute(
        description="`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER` or `AWS_MSK_IAM`. With `PLAIN` the password "
        "itself goes over the connection, and with `OAUTHBEARER` the token: use them with `SASL_SSL`. A change is made in "
        "place.",
        type=cty.STRING,
        required=True,
        validators=(checks.one_of(*PASSWORD_MECHANISMS, OAUTHBEARER, AWS_MSK_IAM, later=("GSSAPI",)),),
    ),
    "username": Attribute(
        description="Name of the user; with `AWS_MSK_IAM` the id of an access key. Default: none, with `OAUTHBEARER`; all "
        "others need it. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    **_secret("password", "Password of the user; with `AWS_MSK_IAM` the secret of the access key"),
    "oauth": Attribute(
        description="Where the tokens come from; needed with `OAUTHBEARER`, and only allowed there.",
        optional=True,
        nested=_OAUTH,
    ),
    "aws_region": Attribute(
        description="Region of the cluster, such as `eu-central-1`; needed with `AWS_MSK_IAM`, and only allowed there. "
        "Default: none. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
}

_TLS = {
    "ca_pem": Attribute(
        description="Certificates (PEM) of the authorities that may have signed those of the brokers. Default: those that the "
        "engine's machine trusts. A change is made in place.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    "certificate_pem": Attribute(
        description="The engine's certificate (PEM) for brokers that ask for one (mTLS), with the intermediate ones after it. "
        "Default: none. A change is made in place; its key goes with it.",
        type=cty.STRING,
        optional=True,
        validators=(checks.not_blank,),
    ),
    "key_pem": Attribute(
        description="Private key (PEM, not encrypted) of this certificate, kept in Terraform's state. Default: none, then "
        "`key_pem_wo` is needed with `certificate_pem`. A change is made in place.",
        type=cty.STRING,
        optional=True,
        sensitive=True,
        validators=(checks.not_blank,),
    ),
    "key_pem_wo": Attribute(
        description="Private key (PEM, not encrypted) of this certificate, kept in no plan and no state (write-only: Terraform "
        "1.11, OpenTofu 1.11 or newer). Default: none, then `key_pem` is needed with `certificate_pem`. A change is only seen "
        "by a change of `certificate_pem` or `key_pem_wo_version`.",
        type=cty.STRING,
        optional=True,
        sensitive=True,
        write_only=True,
        validators=(checks.not_blank,),
    ),
    "key_pem_wo_version": Attribute(
        description="Number of the key in `key_pem_wo`; needed with it. Default: none. A change sends `key_pem_wo` again, in "
        "place.",
        type=cty.NUMBER,
        optional=True,
        validators=(checks.at_least(0, "versions"),),
    ),
    "accept_any_server_name": Attribute(
        description="Whether a broker's certificate may be for another name than the one that is connected to: then whoever "
        "has any certificate of a trusted authority can pretend to be a broker. Default false. A change is made in place.",
        type=cty.BOOL,
        optional=True,
        computed=True,
        default=False,
    ),
}

REMOTE_CLUSTER = {
    "bootstrap_servers": Attribute(
        description="Addresses (`host:port`) at which brokers of the remote cluster are found first; the order means "
        "nothing. A change is made in place; it must lead to the same cluster.",
        type=cty.set_of(cty.STRING),
        required=True,
        validators=(checks.not_empty, checks.host_and_port),
    ),
    "cluster_id": Attribute(
        description="Id of the remote cluster. Default: the id that the cluster tells. If given, the engine refuses "
        "another cluster. A change to another id replaces the link.",
        type=cty.STRING,
        optional=True,
        computed=True,
        keep_prior=True,
    ),
    "security_protocol": Attribute(
        description="How to connect to the remote cluster: `PLAINTEXT`, `SSL` (encrypted, and authenticated by a certificate "
        "if there is one), `SASL_PLAINTEXT` (authenticated, but neither encrypted nor protected against change) or `SASL_SSL` "
        "(both). Default `PLAINTEXT`. A change is made in place.",
        type=cty.STRING,
        optional=True,
        computed=True,
        default="PLAINTEXT",
        validators=(checks.one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),),
    ),
    "sasl": Attribute(
        description="How to authenticate to the remote cluster; needed with `SASL_PLAINTEXT` and `SASL_SSL`, and only allowed "
        "there.",
        optional=True,
        nested=_SASL,
    ),
    "tls": Attribute(
        description="Certificates, for `SSL` and `SASL_SSL` only. Default: the authorities that the engine's machine trusts, "
        "and no certificate of its own.",
        optional=True,
        nested=_TLS,
    ),
}
