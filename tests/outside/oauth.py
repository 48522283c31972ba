"""The OAuth flow of a client of another make (PyPI `mcp`) through the gateway, with an authorization server that holds it
to the rules: discovery (RFC 9728, RFC 8414), registration (RFC 7591), PKCE (RFC 7636), resource (RFC 8707).

    oauth.py BINARY oauth
"""

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

KEY = ec.generate_private_key(ec.SECP256R1())
CALLBACK = "http://localhost:7999/callback"


class Authority(BaseHTTPRequestHandler):
    """Gives codes to whoever asks well, and tokens for codes."""

    clients: dict = {}
    codes: dict = {}
    asked: list = []
    registers = True
    audience = "tools"

    def log_message(self, *_):
        pass

    @property
    def here(self):
        return f"http://{self.headers['host']}"

    def say(self, status, body, **headers):
        body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        self.asked.append(url.path)
        if url.path in ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"):
            document = {
                "issuer": self.here,
                "authorization_endpoint": f"{self.here}/authorize",
                "token_endpoint": f"{self.here}/token",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
            }
            if self.registers:
                document["registration_endpoint"] = f"{self.here}/register"
            self.say(200, document)
        elif url.path in ("/.well-known/jwks.json", "/protocol/openid-connect/certs"):
            key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
            self.say(200, {"keys": [{**key, "kid": "k", "alg": "ES256"}]})
        elif url.path == "/authorize":
            query = dict(urllib.parse.parse_qsl(url.query))
            client = self.clients.get(query.get("client_id"))
            if client is None or query.get("redirect_uri") not in client:
                return self.say(400, {"error": "unauthorized_client"})
            if query.get("code_challenge_method") != "S256" or not query.get("resource", "").startswith("http"):
                return self.say(400, {"error": "invalid_request"})
            code = secrets.token_urlsafe()
            self.codes[code] = query
            answer = urllib.parse.urlencode({"code": code, "state": query["state"]})
            self.say(302, {}, location=f"{query['redirect_uri']}?{answer}")
        else:
            self.say(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append(self.path)
        if self.path in ("/register", "/clients-registrations/openid-connect"):
            wish = json.loads(body)
            client = secrets.token_hex(8)
            self.clients[client] = wish["redirect_uris"]
            return self.say(201, {**wish, "client_id": client, "token_endpoint_auth_method": "none"})
        form = dict(urllib.parse.parse_qsl(body.decode()))
        asked = self.codes.pop(form.get("code"), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or challenge.rstrip(b"=").decode() != asked["code_challenge"]:
            return self.say(400, {"error": "invalid_grant"})
        if asked["client_id"] != form.get("client_id") or asked["resource"] != form.get("resource"):
            return self.say(400, {"error": "invalid_target"})
        claims = {
            "iss": self.here,
            "sub": "alice",
            "aud": self.audience or asked["resource"],
            "scope": asked.get("scope", ""),
            "exp": int(time.time()) + 300,
        }
        token = jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "k"})
        self.say(200, {"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": claims["scope"]})


class Storage:
    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def browser():
    """Follows the way to the authorization server, and brings the code back."""
    answers = []

    async def redirect(url):
        async with httpx2.AsyncClient() as client:
            reply = await client.get(url)
            while reply.status_code == 302 and not reply.headers["location"].startswith(CALLBACK):
                reply = await client.get(reply.headers["location"])
            assert reply.status_code == 302, reply.text
            answers.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(reply.headers["location"]).query)))

    async def callback():
        answer = answers.pop()
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    return redirect, callback


async def use(url, arguments):
    """Asks for a token as a real client does, lists, and calls."""
    redirect, callback = browser()
    metadata = OAuthClientMetadata(client_name="outside", redirect_uris=[CALLBACK], grant_types=["authorization_code", "refresh_token"])
    storage = Storage()
    auth = OAuthClientProvider(url, metadata, storage, redirect, callback)
    async with httpx2.AsyncClient(auth=auth, timeout=20) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            tools = [it.name for it in (await client.list_tools()).tools]
            result = await client.call_tool(tools[0], arguments)
            return tools, result, storage


def free():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Gateway:
    def __init__(self, binary, policy):
        self.folder = tempfile.TemporaryDirectory()
        self.port, admin, stats, ready = free(), free(), free(), free()
        path = Path(self.folder.name) / "config.json"
        path.write_text(json.dumps({
            "config": {"adminAddr": f"127.0.0.1:{admin}", "statsAddr": f"127.0.0.1:{stats}", "readinessAddr": f"127.0.0.1:{ready}"},
            "mcp": {
                "port": self.port,
                "targets": [{"name": "demo", "stdio": {"cmd": binary, "args": ["mcp", "demo"]}}],
                "policies": {"mcpAuthentication": policy},
            },
        }))
        self.log = open(Path(self.folder.name) / "log", "w+")
        self.process = subprocess.Popen([binary, "-f", str(path)], stdout=self.log, stderr=self.log)
        deadline = time.time() + 20
        while time.time() < deadline:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{self.port}/mcp", headers={"authorization": "Bearer x.y.z"})
                urllib.request.urlopen(request, timeout=2)
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        self.log.seek(0)
        raise SystemExit(f"the gateway did not start:\n{self.log.read()}")

    @property
    def url(self):
        return f"http://localhost:{self.port}/mcp"

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0


def check(what, good, more=""):
    print(f"{'ok' if good else 'FAILED'}  {what}  {more}")
    if not good:
        raise SystemExit(1)


def main():
    binary = str(Path(sys.argv[1]).resolve())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Authority)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    issuer = f"http://127.0.0.1:{server.server_port}"
    terms = {"issuer": issuer, "audiences": ["tools"], "requiredScopes": ["use"]}
    for name, more, registers, place in [
        ("by itself", {}, True, "/register"),
        ("keycloak, registered through the gateway", {"provider": {"keycloak": {}}}, False, "/clients-registrations/openid-connect"),
        ("one client for all", {"clientId": "agents"}, False, None),
    ]:
        Authority.registers = registers
        Authority.clients.clear()
        Authority.clients["agents"] = [CALLBACK]
        Authority.asked.clear()
        gateway = Gateway(binary, {**terms, **more})
        try:
            tools, result, storage = asyncio.run(use(gateway.url, {"message": "hi"}))
        finally:
            gateway.stop()
        check(f"{name}: listed and called", bool(tools) and not result.is_error, f"{len(tools)} tools")
        check(f"{name}: scope asked for as the challenge says", storage.tokens.scope == "use", storage.tokens.scope)
        registered = [it for it in Authority.asked if "regist" in it]
        check(f"{name}: registered where it should", registered == ([place] if place else []), str(registered))
    # A token for another audience is none.
    Authority.registers, Authority.audience = True, None
    gateway = Gateway(binary, terms)
    try:
        asyncio.run(use(gateway.url, {}))
        refused = False
    except BaseException as error:  # groups of them
        refused = True
        text = repr(error)[:90]
    finally:
        gateway.stop()
    check("a token for somebody else is refused", refused, text if refused else "")


main()
