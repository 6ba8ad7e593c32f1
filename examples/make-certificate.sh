#!/usr/bin/env bash
# A certificate of a development CA, for the examples. Not for anything that others can reach: the CA's key is a file.
#
#   make-certificate.sh server NAME [FILE]   for a server of that name: FILE.crt and FILE.key, else certificates/NAME.*
#   make-certificate.sh client NAME [UNIT]   for a client: clients/NAME.crt and clients/NAME.key
#
# The CA is ca.pem and ca.key in the current folder, made where there is none. Both files of a pair are written beside
# their places and renamed, the key first, so this also shows how to replace a pair under a running gateway.
set -euo pipefail
umask 077

kind=${1:?server or client} name=${2:?a name}
case $kind in
server) file=${3:-certificates/$name} subject="/CN=$name" extensions="subjectAltName=DNS:$name" usage=serverAuth ;;
client) file=clients/$name subject="${3:+/OU=$3}/CN=$name" extensions= usage=clientAuth ;;
*) echo "usage: $0 server NAME [FILE] | client NAME [UNIT]" >&2 && exit 2 ;;
esac

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

if [ ! -e ca.pem ]; then
    new_key ca.key
    openssl req -x509 -new -key ca.key -out ca.pem -days 365 -subj "/CN=Handfast example CA, $(basename "$PWD")"
fi

mkdir -p "$(dirname "$file")"
# A name that begins with a dot is no certificate to the gateway.
staged=$(mktemp -d "$(dirname "$file")/.staged-XXXXXX")
trap 'rm -rf "$staged"' EXIT

new_key "$staged/key"
openssl req -new -key "$staged/key" -subj "$subject" -out "$staged/request"
printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
    "extendedKeyUsage=$usage" "$extensions" >"$staged/extensions"
openssl x509 -req -in "$staged/request" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" -days 90 \
    -extfile "$staged/extensions" -out "$staged/crt" 2>/dev/null

mv "$staged/key" "$file.key"
mv "$staged/crt" "$file.crt"
