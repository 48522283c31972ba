"""The processes of a benchmark: proxies, backend and load, each where it belongs."""

import contextlib
import ctypes
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
# What the package is built with.
PROFILE = "dist"
LIBC = ctypes.CDLL(None)
# Turns that one round of a load is cut into: the machine changes its speed within seconds, and what is compared is to have
# met the same of it.
PARTS = 8
# One core is a poor bench, but it is one.
PROXY_CORE, LOAD_CORE = ("0", "1") if os.cpu_count() > 1 else ("0", "0")


def cpu(pid):
    """User and system time so far, in seconds: to the nanosecond, of all threads, those that ended too.

    `/proc/PID/stat` counts whole ticks of 10 ms, which is more than some pieces differ by.
    """
    clock = ctypes.c_int()
    if LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise SystemExit(f"there is no CPU clock of process {pid}: has it ended?")
    return time.clock_gettime_ns(clock.value) / 1e9


def memory(pid):
    """KiB by kind: Rss, Pss, Anonymous."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}


GIVEN = set()


def free_port():
    """A port below those that connections are given: what is free now is not the end of one a moment later. Never the same
    one twice."""
    for _ in range(1000):
        port = random.randrange(10_000, 30_000)
        if port in GIVEN:
            continue
        GIVEN.add(port)
        with socket.socket() as it, contextlib.suppress(OSError):
            it.bind(("127.0.0.1", port))
            return port
    raise SystemExit("no port is free between 10000 and 30000")


def wait_for(address, process):
    host, port = address.split(":")
    for _ in range(3000):
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended: see its log")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.01)
    raise SystemExit(f"{process.args} does not listen on {address}")


class Proxy:
    """A proxy that may be started: its command, and where it listens."""

    def __init__(self, command, plain, tls, env=None, child=False, end=signal.SIGTERM):
        self.command, self.plain, self.tls, self.env, self.child = command, plain, tls, env or {}, child
        self.end = end
        self.process = self.pid = self.log = None

    def start(self, folder):
        self.log = folder / f"{self.plain.split(':')[1]}.log"
        with open(self.log, "wb") as log, open(f"{self.log}.access", "wb") as out:
            self.process = subprocess.Popen(["taskset", "-c", PROXY_CORE, *self.command], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=log, env={**os.environ, **self.env})
        wait_for(self.plain, self.process)
        self.pid = self.process.pid
        if self.child:
            # The socket is open before the one who serves it is there.
            named = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children")
            for _ in range(200):
                if children := named.read_text().split():
                    break
                time.sleep(0.05)
            self.pid = int(children[0])

    def stop(self):
        if self.process:
            self.process.send_signal(self.end)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Bench:
    def __init__(self, rounds, gateway=None, folder=None):
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
        self.rounds, self.bin = rounds, pathlib.Path(folder) if folder else target / PROFILE
        self.out = self.bin / "bench" if folder else target / "bench"
        self.binary = gateway or self.bin / "agentgateway"
        self.out.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
        # The gateway watches the folders of its files: what is written beside them would be its work.
        (self.folder / "tls").mkdir()
        self.cert, self.key = (str(self.folder / "tls" / name) for name in ("cert.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", self.key, "-out", self.cert, "-days", "30", "-subj", "/CN=bench.test",
                        "-addext", "subjectAltName=DNS:bench.test,DNS:localhost,IP:127.0.0.1"],
                       check=True, capture_output=True)
        self.backend = f"127.0.0.1:{free_port()}"
        self.backend_process = subprocess.Popen(
            ["taskset", "-c", LOAD_CORE, str(self.bin / "bench-backend"), self.backend], stdin=subprocess.DEVNULL)
        wait_for(self.backend, self.backend_process)
        return self

    def __exit__(self, *_):
        self.backend_process.terminate()
        self.backend_process.wait()
        shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def started(self, **proxies):
        try:
            for proxy in proxies.values():
                proxy.start(self.folder)
            yield proxies
        finally:
            for proxy in proxies.values():
                proxy.stop()

    def addresses(self):
        return f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"

    def floor(self):
        plain, tls = self.addresses()
        return Proxy([str(self.bin / "floor"), self.backend, plain, tls, self.cert, self.key], plain, tls, end=signal.SIGINT)

    def gateway(self, log=False, prefixes=0, hosts=0, plain_only=False, policies=None, written=None):
        """`written`: its routes, as text."""
        plain, tls = self.addresses()
        # A folder of its own: the gateway watches it.
        file = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "gateway.yaml"
        written = written or routes(self.backend, prefixes, hosts, policies)
        file.write_text(self.document(plain, None if plain_only else tls, written, log))
        level = "info" if log else "info,request=off"
        proxy = Proxy([str(self.binary), "-f", str(file)], plain, tls, {"RUST_LOG": level})
        proxy.file = file
        return proxy

    def document(self, plain, tls, routes, log):
        listen = lambda name, address: f"  {name}:\n    port: {address.split(':')[1]}\n"
        text = "config:\n  workerThreads: 1\n  logging:\n    format: json\n"
        text += "".join(f"  {it}Addr: 127.0.0.1:{free_port()}\n" for it in ("admin", "stats", "readiness"))
        text += "gateways:\n" + listen("default", plain)
        if tls:
            text += listen("secure", tls) + f"    tls:\n      cert: {self.cert}\n      key: {self.key}\n"
        parents = "  gateways: [default, secure]\n" if tls else "  gateways: [default]\n"
        return text + "routes:\n" + routes.replace("  PARENTS\n", parents)

    def nginx(self):
        plain, tls = self.addresses()
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        file = folder / "nginx.conf"
        file.write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr; user root;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_body_temp_path {folder};
  proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream backend {{ server {self.backend}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen {plain}; listen {tls} ssl http2; ssl_certificate {self.cert}; ssl_certificate_key {self.key};
    ssl_protocols TLSv1.3; client_max_body_size 0; client_body_buffer_size 64k;
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_buffering off; }}
  }}
}}
""")
        return Proxy(["nginx", "-c", str(file), "-p", str(folder)], plain, tls, child=True)

    def list(self, name, lines):
        file = self.folder / name
        file.write_text("\n".join(lines))
        return str(file)

    def command(self, address, options):
        command = ["taskset", "-c", LOAD_CORE, str(self.bin / "bench-load"), address]
        for name, value in options.items():
            flag = f"-{name}" if len(name) == 1 else f"--{name}"
            values = value if isinstance(value, list) else [value]
            command += [flag] if value is True else [] if value is False else [it for one in values for it in (flag, str(one))]
        return command

    def load(self, address, **options):
        done = subprocess.run(self.command(address, options), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the load failed: {done.stderr}")
        return json.loads(done.stdout)

    def loading(self, address, **options):
        """A load that goes on; its `communicate` gives the result."""
        return subprocess.Popen(self.command(address, options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def held(self, address, count, **options):
        """That many connections, idle after one request each."""
        options = dict({"idle": True}, **options, c=count)
        with subprocess.Popen(self.command(address, options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
            result = json.loads(it.stdout.readline())
            if result["ok"] != count:
                raise SystemExit(f"not all connections were served: {result}")
            time.sleep(1)
            yield
            it.stdin.close()

    def h2load(self, address, count):
        done = subprocess.run(["taskset", "-c", LOAD_CORE, "h2load", "-n", str(count), "-c", "8", "-m", "4",
                               f"https://{address}/"], capture_output=True, text=True, check=True)
        if f"{count} succeeded" not in done.stdout:
            raise SystemExit(done.stdout)
        return count


def routes(backend, prefixes, hosts, policies=None):
    """The `routes` of a document, as text: they are many. `policies` is JSON, which is YAML."""
    to = f"  backends:\n  - host: {backend}\n  PARENTS\n"
    if prefixes:
        return "".join(f"- name: r{n}\n  matches:\n  - path:\n      pathPrefix: /r/{n}\n{to}" for n in range(prefixes))
    if hosts:
        return "".join(f"- name: r{n}\n  hostnames: [h{n}.test]\n{to}" for n in range(hosts))
    with_policies = f"  policies: {json.dumps(policies)}\n" if policies else ""
    return f"- name: all\n{with_policies}{to}"
