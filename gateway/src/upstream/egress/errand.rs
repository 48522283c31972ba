//! Requests for tokens: with a credential, and as the only ones to a metadata server.
//!
//! The address of a metadata server may be dialled for this and nothing else, and only by an errand that is one to it: a
//! URL of a configuration cannot lead there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use filters::backend_auth::gcp::Errand;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;

use super::{Egress, FETCH_DEADLINE, Fault, Hop, address, spoken, whole};

/// Where machines of Google's find it.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254))];
/// Without it the metadata server does not answer: no browser and no redirect sends it.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// Largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Egress {
    /// Asks, and follows no redirect. Any status is an answer.
    pub(in crate::upstream) async fn errand(&self, errand: &Errand) -> Result<(u16, Bytes), Fault> {
        match tokio::time::timeout(FETCH_DEADLINE, self.run_errand(errand)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Deadline),
        }
    }

    async fn run_errand(&self, errand: &Errand) -> Result<(u16, Bytes), Fault> {
        let Errand { url, bearer, post, is_metadata } = errand;
        let hop = Hop::parse(url).ok_or(Fault::Url)?;
        let address = match is_metadata {
            true => self.metadata(&hop).await?,
            false => self.address(&hop, None).await?,
        };
        let mut sender = spoken(self.reach(&hop, address).await?).await?;
        let path = hop.uri.path_and_query().map_or("/", |it| it.as_str());
        let mut request = if post.is_some() { Request::post(path) } else { Request::get(path) }
            .header(HOST, hop.authority())
            .header(USER_AGENT, "agentgateway")
            .header(ACCEPT, "application/json, text/plain");
        if *is_metadata {
            request = request.header(FLAVOR, "Google");
        }
        if let Some(bearer) = bearer {
            let value = HeaderValue::from_bytes(&[b"Bearer ", bearer.expose()].concat());
            let mut value = value.map_err(|_| Fault::Url)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let body = match post {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, *kind);
                Full::new(Bytes::copy_from_slice(body.expose()))
            }
            None => Full::default(),
        };
        let request = request.body(body).map_err(|_| Fault::Url)?;
        let answer = sender.send_request(request).await.map_err(|error| Fault::Exchange(error.to_string()))?;
        let (head, body) = answer.into_parts();
        Ok((head.status.as_u16(), whole(body, ANSWER_BYTES_MAX).await?))
    }

    /// The metadata server, or what the process was told stands for it.
    async fn metadata(&self, hop: &Hop) -> Result<std::net::SocketAddr, Fault> {
        let found = self.addresses(hop).await?;
        let known = found.iter().find(|it| address::is_among(**it, &METADATA));
        match known {
            Some(ip) => Ok(std::net::SocketAddr::new(*ip, hop.port)),
            None => self.address(hop, None).await,
        }
    }
}
