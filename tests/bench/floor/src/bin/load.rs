//! Load over HTTP/1.1, counted to the request: prints one line of JSON.
//!
//! Requests are taken from a list in an order that is mixed but the same in every run.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Parser)]
struct Arguments {
    /// Address of the proxy.
    address: String,
    /// Requests in all; 0: until `--seconds`.
    #[arg(short = 'n', default_value_t = 0)]
    requests: u64,
    #[arg(short = 's', long)]
    seconds: Option<f64>,
    /// Connections at once.
    #[arg(short = 'c', default_value_t = 32)]
    connections: usize,
    /// Lines of `path` or `path host`.
    #[arg(short = 'l', long)]
    list: Option<PathBuf>,
    /// The one path, where there is no list.
    #[arg(short = 'p', long, default_value = "/")]
    path: String,
    /// Lines of headers, one for each request in turn: `Authorization: Bearer …`. A tab separates several.
    #[arg(long)]
    headers: Option<PathBuf>,
    /// A header of all requests.
    #[arg(short = 'H', long)]
    header: Vec<String>,
    /// Lines of JSON, one posted with each request in turn.
    #[arg(long)]
    bodies: Option<PathBuf>,
    /// Bytes of a request body; 0: GET.
    #[arg(short = 'b', long, default_value_t = 0)]
    body: usize,
    /// The body of every request: JSON, posted as it is.
    #[arg(long)]
    json: Option<PathBuf>,
    #[arg(long)]
    tls: bool,
    /// The one key-exchange group that is offered.
    #[arg(long, value_enum, default_value = "x25519")]
    group: Group,
    /// A connection for each request; with TLS, a full handshake.
    #[arg(long)]
    anew: bool,
    /// One request on each connection, then hold them until standard input ends.
    #[arg(long)]
    idle: bool,
    /// As `--idle`, but in the middle of an answer: what comes is read until its first piece is there.
    #[arg(long)]
    open: bool,
    /// Tell how long pieces that say when they were written (`bench-backend`) were on their way.
    #[arg(long)]
    delay: bool,
    /// As `--idle`, but answers are streams of which nothing needs to come: the head is all that is waited for.
    #[arg(long)]
    streams: bool,
    /// Tell how long answers took.
    #[arg(long)]
    latency: bool,
}

impl Arguments {
    fn holds(&self) -> bool {
        self.idle || self.open || self.streams
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Group {
    X25519,
    #[value(name = "x25519mlkem768")]
    X25519Mlkem768,
}

struct Load {
    arguments: Arguments,
    requests: Vec<Vec<u8>>,
    tls: Option<TlsConnector>,
    begun: AtomicU64,
    ok: AtomicU64,
    missing: AtomicU64,
    odd: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    delays: Mutex<Vec<u64>>,
    /// Microseconds of each answer, where they are wanted.
    latencies: Mutex<Vec<u32>>,
    until: Option<Instant>,
    /// Idle connections are made a few at a time: the proxy shall not hold as many to the backend.
    turns: tokio::sync::Semaphore,
}

trait Flow: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Flow for T {}

struct Connection {
    flow: Box<dyn Flow>,
    seen: Vec<u8>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let load = Arc::new(Load {
        requests: requests(&arguments),
        tls: arguments.tls.then(|| TlsConnector::from(Arc::new(trusting(arguments.group)))),
        begun: AtomicU64::new(0),
        ok: AtomicU64::new(0),
        missing: AtomicU64::new(0),
        odd: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        delays: Mutex::default(),
        latencies: Mutex::default(),
        turns: tokio::sync::Semaphore::new(if arguments.holds() { 8 } else { arguments.connections }),
        until: arguments.seconds.map(|it| started + Duration::from_secs_f64(it)),
        arguments,
    });
    let tasks: Vec<_> = (0..load.arguments.connections).map(|_| tokio::spawn(load.clone().run())).collect();
    let mut held = Vec::new();
    for task in tasks {
        held.push(task.await.expect("a connection's task"));
    }
    let mut latencies = std::mem::take(&mut *load.latencies.lock().expect("no panic before"));
    latencies.sort_unstable();
    println!(
        "{}",
        serde_json::json!({
            "seconds": started.elapsed().as_secs_f64(), "requests": load.ok.load(Relaxed) + load.missing.load(Relaxed),
            "ok": load.ok.load(Relaxed), "missing": load.missing.load(Relaxed), "odd": load.odd.load(Relaxed),
            "errors": load.errors.load(Relaxed), "bytes": load.bytes.load(Relaxed),
            "pieces": load.pieces(), "delay_median_us": load.delay(50), "delay_p99_us": load.delay(99),
            "median_us": latencies.get(latencies.len() / 2),
        })
    );
    if load.arguments.holds() {
        let _ = tokio::task::spawn_blocking(|| io::read_to_string(io::stdin())).await;
    }
    drop(held);
}

fn requests(arguments: &Arguments) -> Vec<Vec<u8>> {
    let list = match &arguments.list {
        Some(file) => std::fs::read_to_string(file).expect("the list"),
        None => arguments.path.clone(),
    };
    let lines = |file: &Option<PathBuf>| -> Vec<String> {
        let text = file.as_ref().map(|file| std::fs::read_to_string(file).expect("a list"));
        text.iter().flat_map(|it| it.lines()).map(str::to_owned).collect()
    };
    let (headers, mut bodies) = (lines(&arguments.headers), lines(&arguments.bodies));
    let json = arguments.json.as_ref().map(|file| std::fs::read_to_string(file).expect("the body"));
    let mut common: String = arguments.header.iter().map(|it| format!("{it}\r\n")).collect();
    if json.is_some() || !bodies.is_empty() {
        common.push_str("Content-Type: application/json\r\n");
    }
    bodies.extend(json.or_else(|| (arguments.body > 0).then(|| "x".repeat(arguments.body))));
    let list: Vec<&str> = list.lines().collect();
    let one = |at: usize| {
        let (path, host) = list[at % list.len()].split_once(' ').unwrap_or((list[at % list.len()], "bench.test"));
        let header = headers.get(at % headers.len().max(1)).map(|it| it.replace('\t', "\r\n") + "\r\n");
        let header = header.unwrap_or_default();
        let head = format!("{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n{common}{header}");
        match bodies.get(at % bodies.len().max(1)) {
            None => format!("GET {head}\r\n"),
            Some(body) => format!("POST {head}Content-Length: {}\r\n\r\n{body}", body.len()),
        }
        .into_bytes()
    };
    (0..list.len().max(headers.len()).max(bodies.len())).map(one).collect()
}

impl Load {
    async fn run(self: Arc<Self>) -> Option<Connection> {
        let mut connection = None;
        let _turn = self.turns.acquire().await;
        while let Some(number) = self.turn() {
            let length = self.requests.len() as u64;
            // Each of those that are held has one of its own.
            let mixed = if self.arguments.holds() { number } else { number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 };
            let began = self.arguments.latency.then(Instant::now);
            let status = self.exchange(&mut connection, &self.requests[(mixed % length) as usize]).await;
            if let Some(began) = began {
                let micros = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                self.latencies.lock().expect("no panic before").push(micros);
            }
            match status {
                Ok(200) => self.ok.fetch_add(1, Relaxed),
                Ok(404) => self.missing.fetch_add(1, Relaxed),
                Ok(_) => self.odd.fetch_add(1, Relaxed),
                Err(error) => {
                    if self.errors.fetch_add(1, Relaxed) < 3 {
                        eprintln!("{error}");
                    }
                    connection = None;
                    continue;
                }
            };
            if self.arguments.holds() {
                break;
            }
            if self.arguments.anew
                && let Some(mut it) = connection.take()
            {
                let _ = it.flow.shutdown().await;
            }
        }
        connection
    }

    fn turn(&self) -> Option<u64> {
        let number = self.begun.fetch_add(1, Relaxed);
        let counted = self.arguments.requests == 0 || number < self.arguments.requests;
        (counted && self.until.is_none_or(|it| Instant::now() < it)).then_some(number)
    }

    async fn exchange(&self, connection: &mut Option<Connection>, request: &[u8]) -> io::Result<u16> {
        if connection.is_none() {
            *connection = Some(self.connect().await?);
        }
        let it = connection.as_mut().expect("a connection");
        it.flow.write_all(request).await?;
        it.flow.flush().await?;
        it.answer(self).await
    }

    /// Notes how long what is in here was on its way.
    fn arrived(&self, piece: &[u8]) {
        const DIGITS: usize = 20;
        if !self.arguments.delay {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_nanos();
        let stamps = piece.windows(2 + DIGITS).filter(|it| it.starts_with(b" @"));
        let written = stamps.filter_map(|it| std::str::from_utf8(&it[2..]).ok()?.parse::<u128>().ok());
        let mut delays = self.delays.lock().expect("no panic before");
        delays.extend(written.map(|it| u64::try_from(now.saturating_sub(it)).unwrap_or(u64::MAX)));
    }

    fn pieces(&self) -> usize {
        self.delays.lock().expect("no panic before").len()
    }

    /// Of so many of a hundred pieces, in microseconds.
    fn delay(&self, percent: usize) -> Option<f64> {
        let mut delays = self.delays.lock().expect("no panic before");
        delays.sort_unstable();
        let at = (delays.len() * percent / 100).min(delays.len().checked_sub(1)?);
        Some(delays[at] as f64 / 1000.0)
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.arguments.address).await?;
        stream.set_nodelay(true)?;
        let flow: Box<dyn Flow> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("bench.test").expect("a name");
                Box::new(tls.connect(name, stream).await?)
            }
        };
        Ok(Connection { flow, seen: Vec::new() })
    }
}

impl Connection {
    async fn more(&mut self) -> io::Result<()> {
        self.seen.reserve(16 * 1024);
        match self.flow.read_buf(&mut self.seen).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn answer(&mut self, load: &Load) -> io::Result<u16> {
        let end = loop {
            match self.seen.windows(4).position(|it| it == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more().await?,
            }
        };
        let head = String::from_utf8_lossy(&self.seen[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|it| it.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        self.seen.drain(..end);
        if load.arguments.streams {
            self.seen = Vec::new();
            return Ok(status);
        }
        if load.arguments.open {
            while self.seen.is_empty() {
                self.more().await?;
            }
            // The rest is never read, and what was is not needed.
            self.seen = Vec::new();
            return Ok(status);
        }
        let length = head.lines().find_map(|it| it.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        match length {
            Some(length) => {
                while self.seen.len() < length {
                    self.more().await?;
                }
                self.seen.drain(..length);
                load.bytes.fetch_add(length as u64, Relaxed);
            }
            None => self.chunks(load).await?,
        }
        // What an idle connection of ours keeps is not the proxy's.
        if self.seen.is_empty() && self.seen.capacity() > 64 * 1024 {
            self.seen = Vec::new();
        }
        Ok(status)
    }

    async fn chunks(&mut self, load: &Load) -> io::Result<()> {
        loop {
            let line = loop {
                match self.seen.windows(2).position(|it| it == b"\r\n") {
                    Some(at) => break at,
                    None => self.more().await?,
                }
            };
            let size = usize::from_str_radix(&String::from_utf8_lossy(&self.seen[..line]), 16);
            let size = size.map_err(|_| io::ErrorKind::InvalidData)?;
            while self.seen.len() < line + 2 + size + 2 {
                self.more().await?;
            }
            load.arrived(&self.seen[line + 2..line + 2 + size]);
            self.seen.drain(..line + 2 + size + 2);
            load.bytes.fetch_add(size as u64, Relaxed);
            if size == 0 {
                return Ok(());
            }
        }
    }
}

/// TLS 1.3 and one group only, no resumption, any certificate.
fn trusting(group: Group) -> ClientConfig {
    let mut provider = default_provider();
    provider.kx_groups = match group {
        Group::X25519 => vec![kx_group::X25519],
        Group::X25519Mlkem768 => vec![kx_group::X25519MLKEM768],
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a group and version that go together");
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ED25519]
    }
}
