# What shell cells start with (BASH_ENV): they stop at the first error, and commands print as into a file.
set -euo pipefail
unset FORCE_COLOR CLICOLOR CLICOLOR_FORCE
export COLUMNS=100 TERM=dumb
