#!/usr/bin/env bash
# A virtual environment with the peers of requirements.txt, outside the tree: about 5.5 GB. Its folder is the one argument, or
# FROSTBIT_PEERS, or frostbit/peers in the user's cache folder. What torch.compile needs besides (g++, Python's headers) and the
# allocator that makes it fastest are Debian's.
set -euo pipefail
folder=${1:-${FROSTBIT_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/frostbit/peers}}
python3 -m venv "$folder"
"$folder/bin/pip" install --requirement "$(dirname "$0")/requirements.txt"
"$folder/bin/python" -c 'import torch; print("PyTorch", torch.__version__, "in", torch.__file__)'
for needed in g++:g++ /usr/include/python3*/Python.h:python3-dev /usr/lib/*/libtcmalloc_minimal.so.4:libtcmalloc-minimal4; do
  path=${needed%%:*}
  command -v "$path" >/dev/null || compgen -G "$path" >/dev/null || echo "Missing: Debian's package ${needed##*:}."
done
