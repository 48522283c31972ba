"""Credentials that AWS lends, from a server of another make (moto's STS): it is asked by a real gateway for sessions, and
is the backend that says in whose name a request is signed.

Run it through `tests/outside/run aws`.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import urllib.request

from signed import address
from xds_session import check, process, until

ROLE = "arn:aws:iam::123456789012:role/agents"
WHO = "Action=GetCallerIdentity&Version=2011-06-15"
IDENTITY = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwb2QiLCJhdWQiOiJzdHMiLCJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0In0."


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def gateway(binary, folder, aws, port, env):
    """A real gateway with one route to the server, and nothing of whoever runs this in its environment."""
    folder.mkdir()
    policies = {"backendAuth": {"aws": {"serviceName": "sts"} | aws}}
    backend = {"host": f"127.0.0.1:{port}", "policies": policies}
    config = {
        "config": {"adminAddr": f"unix:{folder}/admin", "statsAddr": "off", "readinessAddr": "off"},
        "binds": [{"port": 0, "address": "127.0.0.1", "listeners": [{"routes": [{"backends": [backend]}]}]}],
    }
    (folder / "gateway.yaml").write_text(json.dumps(config))
    for name in [it for it in os.environ if it.startswith("AWS_")]:
        del os.environ[name]
    none = {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ.update(none | {"AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}"} | env)
    return process([binary, "-f", str(folder / "gateway.yaml")], folder / "gateway.log")


def who(at, *more):
    command = ["curl", "-s", "-m", "15", "-d", WHO, *more, f"http://{at}/"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main():
    print("== moto's STS, a real gateway, curl", flush=True)
    port = free_port()
    moto = pathlib.Path(sys.executable).parent / "moto_server"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "token").write_text(IDENTITY)
        (folder / "credentials").write_text(
            "[base]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret\n"
            f"[chained]\nregion = eu-west-1\nrole_arn = {ROLE}\nrole_session_name = of-a-profile\nsource_profile = base\n"
        )
        keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
        profile = {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"), "AWS_PROFILE": "chained"}
        identity = {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token"),
            "AWS_ROLE_ARN": ROLE,
            "AWS_ROLE_SESSION_NAME": "of-a-pod",
            "AWS_REGION": "us-east-1",
        }
        tags = [{"key": "team", "value": "red"}]
        by_user = {"roleArn": ROLE, "sessionName": {"expression": "request.headers['x-user']"}, "tags": tags}
        cases = [
            ("keys of the environment", {"region": "us-east-1"}, keys, [], "arn:aws:sts::123456789012:user/moto"),
            ("a profile that assumes a role", {}, profile, [], "assumed-role/agents/of-a-profile"),
            ("a web identity", {}, identity, [], "assumed-role/agents/of-a-pod"),
            ("a role", {"region": "us-east-1", "assumeRole": {"roleArn": ROLE}}, keys, [], "agents/agentgateway"),
            ("a role by a profile", {"assumeRole": {"roleArn": ROLE}}, profile, [], "agents/agentgateway"),
            ("ann", {"region": "us-east-1", "assumeRole": by_user}, keys, ["-H", "x-user: ann"], "agents/ann"),
        ]
        log = (folder / "moto.log").open("wb")
        server = subprocess.Popen([str(moto), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:

            def listens():
                try:
                    return urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/data.json", timeout=2).status == 200
                except OSError:
                    return False

            until(listens, "moto listens")
            for name, aws, env, more, want in cases:
                folder_of = folder / name.replace(" ", "-")
                with gateway(sys.argv[1], folder_of, aws, port, env):
                    said = who(address(folder_of), *more)
                    check(want in said, f"signed in the name of {name}" + ("" if want in said else f": {said}"))
        finally:
            server.terminate()
            server.wait(10)
            log.close()
    print("all well", flush=True)


if __name__ == "__main__":
    main()
