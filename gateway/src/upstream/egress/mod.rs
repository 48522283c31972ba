//! The egress rule: the one connector for every URL that the gateway itself fetches (key sets now; login, webhooks and
//! documents of APIs later).
//!
//! A URL in a configuration makes the gateway a client inside somebody's network, so what it will talk to is decided
//! here and nowhere else:
//!
//! - `https` with the system's roots (or those of `SSL_CERT_FILE`), `http` only where the URL itself says so.
//! - Addresses are judged after DNS, and it is the judged address that is dialled: a name cannot change its mind in
//!   between. See [`address`]: metadata services, link-local, multicast and unspecified addresses are never dialled;
//!   private and loopback ones only for a URL that an operator wrote, not because a public server redirected there. What
//!   `config.egressAllow` lists may be dialled for such a URL as well.
//! - Redirects are followed at most [`REDIRECTS_MAX`] times, each judged anew, never from `https` down to `http`.
//! - Answers have a size limit; a fetch has a deadline, name, connection and redirects included.
//!
//! Nothing of a request from outside ever reaches a fetch: no header, no cookie, no credential. An exchange that a policy
//! makes on a client's behalf (a client that registers, a code for a token) sends a body that the policy has judged, and
//! follows no redirect. What an agent has to tell a client ([`Egress::deliver`]) goes to public addresses alone, and follows
//! no redirect either.

mod address;
pub(super) mod amazon;
mod deliver;
mod errand;
mod fault;
pub mod renewal;
pub(super) mod way;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use filters::backend_tls;
use filters::outside;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ir::Text;
use rustls::ClientConfig;

pub use self::fault::Fault;
use super::dial::{self, Flow};
use super::dns::Names;
use super::endpoint::Address;
use super::tls::Tls;

/// Redirects followed.
pub const REDIRECTS_MAX: usize = 3;
/// Longest fetch, everything included.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(15);
/// Longest wait for one connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest URL that somebody outside wrote.
const URL_BYTES_MAX: usize = 2048;
/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Fetches URLs under the egress rule. A clone is the same one.
#[derive(Clone)]
pub struct Egress {
    names: Arc<Names>,
    /// Addresses that a URL may lead to though nothing is fetched there usually.
    allow: Arc<[IpAddr]>,
    tls: Arc<OnceLock<Result<Arc<ClientConfig>, String>>>,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Ask {
    pub accept: &'static str,
    pub bytes_max: usize,
    /// What we have already; the answer may then be 304.
    pub etag: Option<HeaderValue>,
}

/// What came.
#[derive(Debug)]
pub struct Fetched {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Fetched {
    pub fn etag(&self) -> Option<HeaderValue> {
        self.headers.get(ETAG).cloned()
    }
}

/// Where one request goes.
struct Hop {
    uri: Uri,
    tls: bool,
    host: Text,
    port: u16,
}

impl Egress {
    pub(super) fn new(names: Arc<Names>, allow: Arc<[IpAddr]>) -> Self {
        Self { names, allow, tls: Arc::default() }
    }

    /// Gets a URL that an operator wrote. 200 and 304 are answers, everything else is a fault.
    pub async fn get(&self, url: &str, ask: &Ask) -> Result<Fetched, Fault> {
        match tokio::time::timeout(FETCH_DEADLINE, self.follow(url, ask)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(Fault::Deadline),
        }
    }

    /// A document, or an exchange with who is at a URL that an operator wrote or derived. Redirects of an exchange are
    /// not followed: what was sent is for nobody else. Any status of it is an answer.
    pub async fn exchange(&self, fetch: outside::Fetch<'_>) -> Result<outside::Fetched, Fault> {
        let outside::Fetch { url, accept, bytes_max, post } = fetch;
        let ask = Ask { accept, bytes_max, etag: None };
        let Some(post) = post else {
            let Fetched { status, body, .. } = self.get(url, &ask).await?;
            return Ok(outside::Fetched { status, body });
        };
        let exchange = async {
            let hop = Hop::parse(url).ok_or(Fault::Url)?;
            let address = self.address(&hop, None).await?;
            self.ask(&hop, address, &ask, Some(post)).await
        };
        match tokio::time::timeout(FETCH_DEADLINE, exchange).await {
            Ok(fetched) => fetched.map(|Fetched { status, body, .. }| outside::Fetched { status, body }),
            Err(_) => Err(Fault::Deadline),
        }
    }

    async fn follow(&self, url: &str, ask: &Ask) -> Result<Fetched, Fault> {
        let mut hop = Hop::parse(url).ok_or(Fault::Url)?;
        // How near the first address was: a redirect may not lead nearer.
        let mut nearest = None;
        for _ in 0..=REDIRECTS_MAX {
            let address = self.address(&hop, nearest).await?;
            nearest = Some(nearest.unwrap_or(address::reach(address.ip())));
            let fetched = self.ask(&hop, address, ask, None).await?;
            match fetched.status {
                200 | 304 => return Ok(fetched),
                301 | 302 | 303 | 307 | 308 => hop = hop.next(&fetched.headers)?,
                status => return Err(Fault::Status(status)),
            }
        }
        Err(Fault::Redirects)
    }

    /// An address of the host that may be dialled.
    async fn address(&self, hop: &Hop, nearest: Option<address::Reach>) -> Result<SocketAddr, Fault> {
        let found = self.addresses(hop).await?;
        let mut refused = Fault::Name(hop.host.to_string(), "no addresses".to_owned());
        for ip in found {
            // For what an operator wrote, not for where a server sends us on.
            if nearest.is_none() && address::is_among(ip, &self.allow) {
                return Ok(SocketAddr::new(ip, hop.port));
            }
            match address::judge(ip, nearest) {
                Ok(()) => return Ok(SocketAddr::new(ip, hop.port)),
                Err(why) => refused = Fault::Refused(ip, why),
            }
        }
        Err(refused)
    }

    async fn addresses(&self, hop: &Hop) -> Result<Vec<IpAddr>, Fault> {
        if let Ok(ip) = hop.host.trim_matches(['[', ']']).parse() {
            return Ok(vec![ip]);
        }
        let name = self.names.get(&hop.host);
        name.settled().await;
        let resolution = name.resolution();
        if resolution.addresses.is_empty() {
            let error = resolution.error.as_deref().unwrap_or("no addresses");
            return Err(Fault::Name(hop.host.to_string(), error.to_owned()));
        }
        Ok(resolution.addresses.clone())
    }

    async fn ask(
        &self,
        hop: &Hop,
        address: SocketAddr,
        ask: &Ask,
        post: Option<(&'static str, Bytes)>,
    ) -> Result<Fetched, Fault> {
        let mut sender = spoken(self.reach(hop, address).await?).await?;
        let path = hop.uri.path_and_query().map_or("/", |it| it.as_str());
        let answers = post.is_some();
        let builder = if answers { Request::post(path) } else { Request::get(path) };
        let mut request =
            builder.header(HOST, hop.authority()).header(USER_AGENT, "agentgateway").header(ACCEPT, ask.accept);
        if let Some(etag) = &ask.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let body = match post {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, kind);
                Full::new(body)
            }
            None => Full::default(),
        };
        let request = request.body(body).map_err(|_| Fault::Url)?;
        let answer = sender.send_request(request).await.map_err(|error| Fault::Exchange(error.to_string()))?;
        let (head, body) = answer.into_parts();
        let body = match head.status.as_u16() {
            status if status == 200 || answers => whole(body, ask.bytes_max).await?,
            _ => Bytes::new(),
        };
        Ok(Fetched { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// A connection, in time.
    async fn reach(&self, hop: &Hop, address: SocketAddr) -> Result<Flow, Fault> {
        let reached = tokio::time::timeout(CONNECT_DEADLINE, self.connect(hop, address)).await;
        reached.unwrap_or(Err(Fault::Deadline))
    }

    async fn connect(&self, hop: &Hop, address: SocketAddr) -> Result<Flow, Fault> {
        let refused = |error: std::io::Error| Fault::Connect(address, error.to_string());
        let socket = dial::open(&Address::Inet(address), None).await.map_err(refused)?;
        if !hop.tls {
            return Ok(Flow::Plain(socket));
        }
        let config = self.tls.get_or_init(|| Tls::compile(&backend_tls::Policy::default())?.config(&[b"http/1.1"]));
        let config = config.clone().map_err(Fault::Tls)?;
        let name = hop.host.trim_matches(['[', ']']);
        let tls = dial::secure(socket, config, name).await.map_err(|error| Fault::Tls(error.to_string()))?;
        Ok(Flow::Tls(Box::new(tls)))
    }
}

/// Begins to speak on a connection. It ends with the sender and the body of the answer.
async fn spoken(flow: Flow) -> Result<http1::SendRequest<Full<Bytes>>, Fault> {
    let shaken = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(flow)).await;
    let (sender, connection) = shaken.map_err(|error| Fault::Exchange(error.to_string()))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The whole body of an answer, if it is no longer than that.
async fn whole(body: Incoming, bytes_max: usize) -> Result<Bytes, Fault> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Fault::TooLarge(bytes_max)),
        Err(error) => Err(Fault::Exchange(error.to_string())),
    }
}

impl Hop {
    fn parse(url: &str) -> Option<Self> {
        Self::of(url.parse().ok()?)
    }

    fn of(uri: Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let host = authority.host().to_ascii_lowercase().into();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { tls, host, port, uri })
    }

    fn authority(&self) -> &str {
        self.uri.authority().map_or("", |it| it.as_str())
    }

    /// Where a redirect leads: a whole URL, or a path on the same server.
    fn next(&self, headers: &HeaderMap) -> Result<Self, Fault> {
        let to = headers.get(LOCATION).and_then(|it| it.to_str().ok()).ok_or(Fault::Location)?;
        let uri = match to.starts_with('/') && !to.starts_with("//") {
            true => {
                let scheme = if self.tls { "https" } else { "http" };
                Uri::builder().scheme(scheme).authority(self.authority()).path_and_query(to).build()
            }
            false => Uri::try_from(to).map_err(Into::into),
        };
        let next = uri.ok().and_then(Self::of).ok_or(Fault::Location)?;
        if self.tls && !next.tls { Err(Fault::Downgrade) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests;
