"""Started by Terraform this is the plugin; started by hand it installs, uninstalls and examines itself."""

import os
import signal
import sys

# Public values of Terraform: they tell a start by Terraform from one by hand, and are no secret.
COOKIE = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")

_COMMAND = "terraform-provider-clusterlink"


def main() -> None:
    """Runs what was started. Each imports only what it needs: the plugin starts three times per plan."""
    name, value = COOKIE
    if len(sys.argv) > 1 or os.environ.get(name) != value:
        from clusterlink_provider.install.cli import run

        sys.exit(run(sys.argv[1:]))

    # Ctrl-C goes to the whole process group. Terraform decides what it means and calls StopProvider. This comes
    # before the imports, which take long enough to be hit.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    try:
        from clusterlink_provider.framework.server import Service
        from clusterlink_provider.plugin.process import serve
        from clusterlink_provider.resources.provider import ClusterlinkProvider

        serve(Service(ClusterlinkProvider()).handler())
    except Exception as error:
        # Terraform shows its user the first line on standard output of a plugin that does not start, and nothing else.
        line = f"the clusterlink provider cannot start ({type(error).__name__}: {error}); run: {_COMMAND} doctor\n"
        os.write(1, line.encode())
        raise


if __name__ == "__main__":
    main()
