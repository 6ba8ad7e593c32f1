#!/usr/bin/env bash
# Replaces the certificate of one domain 100 times and the policy 20 times while h2load talks to both domains through
# the gateway to nginx, and counts what was lost. Exit code 0 only if it was nothing.
#
#   cargo build --release --package handfast && cargo xtask plugins --guests
#   examples/quickstart/swap-under-load.sh
#
# Needs nginx, h2load (Debian: nginx-light, nghttp2-client), openssl and curl. HANDFAST names another binary, CERTIFICATES,
# SWAPS and REQUESTS other numbers; the first is a multiple of the second.
# It runs the handfast.toml beside it, on free ports, with one policy added.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
handfast=${HANDFAST:-$root/target/release/handfast}
policies=("$root/plugins/server-name/dist/server-name.wasm" "$root/target/plugins/custom-policy.wasm")
certificates=${CERTIFICATES:-100}
swaps=${SWAPS:-20}
# Of one run of h2load over connections that stay.
requests=${REQUESTS:-20000}
# Between two replacements the load gets this far, so that each falls among requests and handshakes.
requests_between=500
handshakes_between=20

PATH=$PATH:/usr/sbin
for program in nginx h2load openssl curl; do
    command -v $program >/dev/null || { echo "$program is missing: apt-get install nginx-light nghttp2-client openssl curl" >&2; exit 2; }
done
[ -x "$handfast" ] || { echo "$handfast is missing: cargo build --release --package handfast" >&2; exit 2; }
[ -e "${policies[1]}" ] || { echo "${policies[1]} is missing: cargo xtask plugins --guests" >&2; exit 2; }

work=$(mktemp -d)
cd "$work"
end() {
    touch stop
    kill "${gateway:-}" "${nginx:-}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

fail() { echo "FAILED: $*; what the gateway said:" >&2; grep -v ' replaced ' gateway.log | tail -n 30 >&2; exit 1; }

# Runs a command until it succeeds, for 30 seconds.
until_true() {
    local deadline=$((SECONDS + 30))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "waited in vain for: $*"
        sleep 0.02
    done
}

# --- The upstreams: one nginx, a port for each domain. It cannot be asked for a free port, so it tries some.

start_nginx() {
    for _ in 1 2 3 4 5 6 7 8; do
        shop=$((20000 + RANDOM % 10000)) blog=$((30000 + RANDOM % 2000))
        cat >nginx.conf <<-EOF
			daemon off;
			worker_processes 1;
			pid $work/nginx.pid;
			error_log $work/nginx.log;
			events { worker_connections 4096; }
			http {
			    access_log off;
			    client_body_temp_path $work; proxy_temp_path $work; fastcgi_temp_path $work;
			    uwsgi_temp_path $work; scgi_temp_path $work;
			    keepalive_requests 1000000;
			    server { listen 127.0.0.1:$shop; return 200 "This is the shop.\n"; }
			    server { listen 127.0.0.1:$blog; return 200 "This is the blog.\n"; }
			}
		EOF
        nginx -p "$work" -c "$work/nginx.conf" 2>nginx.log &
        nginx=$!
        until [ -s nginx.pid ] || ! kill -0 $nginx 2>/dev/null; do sleep 0.02; done
        kill -0 $nginx 2>/dev/null && return
    done
    fail "nginx does not start: $(cat nginx.log)"
}
start_nginx

# --- The certificates, all made beforehand: replacing one is two renames.

for name in shop.localhost blog.localhost; do
    "$root/examples/make-certificate.sh" server $name
done
echo "making $certificates certificates"
for number in $(seq $certificates); do
    "$root/examples/make-certificate.sh" server shop.localhost "next/$number"
done

# --- The gateway: the example's configuration on free ports, with a policy whose file is replaced.

cp "${policies[0]}" live.wasm
sed -e "s/127.0.0.1:8443\"/127.0.0.1:0\"\npolicies = [\"live\"]/" -e "s/127.0.0.1:9901/127.0.0.1:0/" \
    -e "s/127.0.0.1:9001/127.0.0.1:$shop/" -e "s/127.0.0.1:9002/127.0.0.1:$blog/" "$here/handfast.toml" >handfast.toml
cat >>handfast.toml <<-EOF

	[[policy]]
	name = "live"
	plugin = "live.wasm"

	# Every change, and no line for each of the many requests.
	[log]
	filter = "warn,handfast::certificate=info,handfast::policy=info,handfast::server=info"
EOF
"$handfast" run -c handfast.toml 2>gateway.log &
gateway=$!
until_true grep -q ' ready ' gateway.log
address=$(sed -n 's/.* listening listener="https" address=//p' gateway.log)
admin=$(sed -n 's/.* admin listening address=//p' gateway.log)

# --- The load: two domains, connections that stay and connections that are new for each request, until `stop`.

load() {
    local log=$1 url=$2
    shift 2
    until [ -e stop ]; do h2load --connect-to="$address" "$@" "$url" >>"$log" 2>&1 || echo "h2load failed" >>"$log"; done
}
load kept-shop.log https://shop.localhost/ --requests=$requests --clients=4 --max-concurrent-streams=4 &
load kept-blog.log https://blog.localhost/ --requests=$requests --clients=4 --h1 &
load new-shop.log https://shop.localhost/ --requests=20 --clients=20 &
load new-blog.log https://blog.localhost/ --requests=20 --clients=20 --h1 &

# The sum of a metric's series that match a pattern.
metric() { curl --silent --fail "http://$admin/metrics" | awk -v series="$1" '$0 ~ "^" series { sum += $NF } END { print sum + 0 }'; }
at_least() { [ "$(metric "$1")" -ge "$2" ]; }
progress() {
    local requests handshakes
    requests=$(metric handfast_requests_total) handshakes=$(metric handfast_handshakes_total)
    until_true at_least handfast_requests_total $((requests + requests_between))
    until_true at_least handfast_handshakes_total $((handshakes + handshakes_between))
}
served() { openssl s_client -connect "$address" -servername shop.localhost </dev/null 2>/dev/null | openssl x509 -noout -serial; }
logged() { [ "$(grep --count "$1" gateway.log)" = "$2" ]; }

# --- The replacements, each live before the next begins.

begun=$SECONDS
swapped=0
for number in $(seq $certificates); do
    progress
    serial=$(openssl x509 -noout -serial -in "next/$number.crt")
    mv "next/$number.key" certificates/shop.localhost.key
    mv "next/$number.crt" certificates/shop.localhost.crt
    [ "$(served)" = "$serial" ] || fail "the handshake after rename $number got another certificate"
    if [ $((number % (certificates / swaps))) = 0 ]; then
        swapped=$((swapped + 1))
        cp "${policies[swapped % 2]}" next.wasm
        mv next.wasm live.wasm
        served >/dev/null
        until_true logged ' policy replaced ' $swapped
    fi
done
took=$((SECONDS - begun))
touch stop
wait $(jobs -p | grep -vx -e "$gateway" -e "$nginx")

# --- The account.

# Sums a number of h2load's summary lines ("requests: 20 total, 20 started, 20 done, 20 succeeded, 0 failed, …").
h2load_sum() { cat "${@:2}" | grep '^requests:' | grep -o "[0-9]* $1" | awk '{ sum += $1 } END { print sum + 0 }'; }
done_requests=$(h2load_sum succeeded ./*-*.log)
# "errored" and "timeout" are among the failed.
lost_requests=$(h2load_sum failed ./*-*.log)
broken_runs=$(cat ./*-*.log | grep --count 'h2load failed' || true)
bad_status=$(cat ./*-*.log | grep '^status codes:' | grep -o '[0-9]* [345]xx' | awk '{ sum += $1 } END { print sum + 0 }')
new_connections=$(h2load_sum total new-*.log)
answered=$(metric 'handfast_handshakes_total[{].*outcome="certificate"')
handshakes=$(metric handfast_handshakes_total)
gateway_requests=$(metric handfast_requests_total)
gateway_errors=$((gateway_requests - $(metric 'handfast_requests_total[{].*status="2xx"')))
replaced=$(grep --count ' certificate replaced ' gateway.log || true)
policy_replaced=$(metric 'handfast_reloads_total[{]what="policy".*outcome="replaced"')
calls=$(metric 'handfast_policy_calls_total')
calls_failed=$((calls - $(metric 'handfast_policy_calls_total[{].*outcome="ok"')))

cat <<EOF

$took s under load, $(nproc) cores
                               done    failed
requests, by h2load      $(printf '%10d %9d' "$done_requests" $((lost_requests + bad_status + broken_runs)))
requests, by the gateway $(printf '%10d %9d' "$gateway_requests" "$gateway_errors")
handshakes               $(printf '%10d %9d' "$answered" $((handshakes - answered)))
 of them one request each$(printf '%10d' "$new_connections")
policy calls             $(printf '%10d %9d' "$calls" "$calls_failed")
certificates replaced    $(printf '%10d' "$replaced")
policies replaced        $(printf '%10d' "$policy_replaced")
EOF

[ $((lost_requests + bad_status + broken_runs + gateway_errors + handshakes - answered + calls_failed)) = 0 ] || fail "something was lost"
[ "$replaced" = $certificates ] || fail "$replaced certificates were replaced, not $certificates"
[ "$policy_replaced" = $swaps ] || fail "$policy_replaced policies were replaced, not $swaps"
echo "nothing was lost"
