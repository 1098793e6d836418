# Sourced by benches/peers and benches/run: `environment NAME FILE` makes a Python environment in the cache folder with the
# packages that FILE lists, and sets `venv` to it. A package that cannot be installed is named, and is missing; fails only
# where there can be no environment.
environment() {
  local cache="${ENGRAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/engram}" wanted="$2" failed=0 package
  venv="$cache/$1"
  mkdir -p "$cache"
  if [ ! -x "$venv/bin/pip" ]; then
    rm -rf "$venv"
    if ! python3 -m venv "$venv" >&2; then
      rm -rf "$venv"
      echo "python3 cannot make an environment; on Debian: apt-get install python3-venv python3-dev" >&2
      return 1
    fi
  fi
  cmp -s "$wanted" "$venv/installed.txt" && return 0
  echo "installing Python packages into $venv" >&2
  local pip=("$venv/bin/pip" install --quiet --disable-pip-version-check --no-input)
  if ! "${pip[@]}" --requirement "$wanted" >&2; then
    while read -r package; do
      case "$package" in "" | "#"*) continue ;; esac
      "${pip[@]}" "$package" >&2 </dev/null || { failed=1; echo "$package cannot be installed" >&2; }
    done <"$wanted"
  fi
  # Tried again next time where something failed.
  [ "$failed" = 1 ] || cp "$wanted" "$venv/installed.txt"
}
