//! What is sent to a URL that somebody outside wrote: news of a task, for a client of an agent.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::Full;

use super::{CONNECT_DEADLINE, Egress, Fault, Hop, URL_BYTES_MAX, address, spoken};

impl Egress {
    /// Whether a URL that somebody outside wrote may be dialled: all its addresses are public, or listed in
    /// `config.egressAllow`.
    pub async fn admits(&self, url: &str) -> Result<(), Fault> {
        let hop = foreign(url)?;
        let judged = tokio::time::timeout(CONNECT_DEADLINE, self.public(&hop)).await;
        judged.unwrap_or(Err(Fault::Deadline)).map(|_| ())
    }

    /// Posts to such a URL, judged anew. Every status is an answer, redirects too: nobody follows them, and nothing of
    /// the body is read. Whoever asks has judged the headers, and bounds it in time.
    pub async fn deliver(&self, url: &str, headers: &HeaderMap, body: &Bytes) -> Result<u16, Fault> {
        let hop = foreign(url)?;
        let reached = async {
            let address = self.public(&hop).await?;
            self.connect(&hop, address).await
        };
        let flow = tokio::time::timeout(CONNECT_DEADLINE, reached).await.unwrap_or(Err(Fault::Deadline))?;
        let mut sender = spoken(flow).await?;
        let path = hop.uri.path_and_query().map_or("/", |it| it.as_str());
        let request = Request::post(path).header(HOST, hop.authority()).header(USER_AGENT, "agentgateway");
        let mut request = request.body(Full::new(body.clone())).map_err(|_| Fault::Url)?;
        request.headers_mut().extend(headers.clone());
        let answer = sender.send_request(request).await.map_err(|error| Fault::Exchange(error.to_string()))?;
        Ok(answer.status().as_u16())
    }

    /// The address that is dialled: one that is refused refuses the whole name.
    async fn public(&self, hop: &Hop) -> Result<SocketAddr, Fault> {
        let mut first = None;
        for ip in self.addresses(hop).await? {
            if !address::is_among(ip, &self.allow) {
                address::judge(ip, Some(address::Reach::Public)).map_err(|why| Fault::Refused(ip, why))?;
            }
            first.get_or_insert(SocketAddr::new(ip, hop.port));
        }
        first.ok_or_else(|| Fault::Name(hop.host.to_string(), "no addresses".to_owned()))
    }
}

fn foreign(url: &str) -> Result<Hop, Fault> {
    Hop::parse(url).filter(|_| url.len() <= URL_BYTES_MAX).ok_or(Fault::Url)
}
