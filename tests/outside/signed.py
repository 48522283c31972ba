"""Signatures of AWS, checked by AWS's own library: a real gateway signs what curl asks, and this program is the backend.

Run it through `tests/outside/run aws`.
"""

import hashlib
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from xds_session import ask, check, process, until

KEYS = {"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
# Methods, targets and bodies that have more than one form.
ASKED = [
    ("GET", "/", None),
    ("GET", "/?b=2&a=1&a=0&c", None),
    ("POST", "/model/anthropic.claude-3:0/invoke", '{"messages":[]}'),
    ("POST", "/model/arn%3Aaws%3Abedrock%2Fx/converse?q=a+b%20c&e=%C3%A9", '{"é":1}'),
    ("PUT", "/a%20b/~c/$d/(e)/f%252Fg", "x" * 70_000),
    ("DELETE", "/a/b/", None),
]


class Backend(http.server.BaseHTTPRequestHandler):
    """Says whether the signature of a request is the one that the library makes of it."""

    protocol_version = "HTTP/1.1"
    secret = KEYS["secretAccessKey"]

    def answer(self):
        body = self.body()
        said = json.dumps(self.judge(body)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while length := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def judge(self, body):
        scheme, _, rest = self.headers["authorization"].partition(" ")
        parts = dict(it.strip().split("=", 1) for it in rest.split(","))
        key, _, region, service, end = parts["Credential"].split("/")
        names = parts["SignedHeaders"].split(";")
        request = botocore.awsrequest.AWSRequest(
            method=self.command,
            url=f"http://{self.headers['host']}{self.path}",
            data=body,
            headers={name: self.headers[name] for name in names},
        )
        request.context["timestamp"] = self.headers["x-amz-date"]
        kinds = {"s3": botocore.auth.S3SigV4Auth}
        credentials = botocore.credentials.Credentials(key, self.secret)
        signer = kinds.get(service, botocore.auth.SigV4Auth)(credentials, service, region)
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        digest = hashlib.sha256(body).hexdigest()
        return {
            "good": (scheme, end, signature) == ("AWS4-HMAC-SHA256", "aws4_request", parts["Signature"]),
            "digest": self.headers.get("x-amz-content-sha256") in (None, digest, "UNSIGNED-PAYLOAD"),
            "service": f"{region}/{service}",
            "names": names,
            "length": len(body),
            "canonical": canonical,
        }

    def log_message(self, *_):
        pass


def gateway(binary, folder, aws, port):
    """A real gateway with one route, which signs so."""
    folder.mkdir()
    backend = {"host": f"127.0.0.1:{port}", "policies": {"backendAuth": {"aws": aws}}}
    config = {
        "config": {"adminAddr": f"unix:{folder}/admin", "statsAddr": "off", "readinessAddr": "off"},
        "binds": [{"port": 0, "address": "127.0.0.1", "listeners": [{"routes": [{"backends": [backend]}]}]}],
    }
    (folder / "gateway.yaml").write_text(json.dumps(config))
    return process([binary, "-f", str(folder / "gateway.yaml")], folder / "gateway.log")


def address(folder):
    def bound():
        try:
            binds = ask(folder / "admin", "/config/status")["binds"]
            return binds and binds[0]["address"]
        except OSError:
            return None

    return until(bound, "the bind listens")


def curl(address, method, target, body, *more):
    command = ["curl", "-s", "-m", "10", "-X", method, "--path-as-is", *more]
    if body is not None:
        command += ["-H", "content-type: application/json", "--data-binary", "@-"]
    done = subprocess.run([*command, f"http://{address}{target}"], input=body, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"said": done.stdout}


def main():
    print("== a backend that checks with AWS's library, a real gateway, curl", flush=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    terms = [
        ("bedrock", KEYS | {"region": "us-east-1", "serviceName": "bedrock"}),
        ("token", KEYS | {"region": "eu-west-1", "serviceName": "lambda", "sessionToken": "IQoJb3JpZ2luX2VjE//=="}),
        ("s3", KEYS | {"region": "us-east-1", "serviceName": "s3"}),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, aws in terms:
            folder_of = pathlib.Path(folder) / name
            with gateway(sys.argv[1], folder_of, aws, server.server_port):
                at = address(folder_of)
                for method, target, body in ASKED:
                    for more in ([], ["--http2-prior-knowledge"], ["-H", "transfer-encoding: chunked"]):
                        if "-H" in more and body is None:
                            continue
                        said = curl(at, method, target, body, "-H", "authorization: Bearer mine", *more)
                        good = said.get("good") and said.get("digest") and said["length"] == len((body or "").encode())
                        check(good, f"{name}: {method} {target} {' '.join(more)}" + ("" if good else f": {said}"))
                Backend.secret = "another"
                check(curl(at, "GET", "/", None).get("good") is False, f"{name}: another key makes another signature")
                Backend.secret = KEYS["secretAccessKey"]
    print("all well", flush=True)


if __name__ == "__main__":
    main()
