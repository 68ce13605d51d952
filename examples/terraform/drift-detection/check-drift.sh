#!/bin/sh
# Says whether the world is as the configuration says: exit code 0 if it is, 2 if not, 1 if that could not be found out.
# Arguments go to `terraform plan`. A viewer's token (CLUSTERLINK_TOKEN) is enough, for the plan changes nothing.
set -u
code=0
terraform plan -detailed-exitcode -input=false -lock=false -no-color "$@" || code=$?
case $code in
  0) echo "No drift." ;;
  2) echo "Drift: the plan above names what differs. 'terraform apply' mends it." >&2 ;;
  *) echo "The plan failed, so nothing is known about drift." >&2 ;;
esac
exit "$code"
