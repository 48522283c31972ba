//! Requests for credentials: with one, and as the only ones to a metadata server.
//!
//! The address of a metadata server may be dialled for this and nothing else, and only by an errand that is one to it: a
//! URL of a configuration cannot lead there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use filters::backend_auth::{Errand, Near};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;

use super::{Egress, FETCH_DEADLINE, Fault, Hop, address, spoken, whole};

/// Where machines of Google's and Azure's find it.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254))];
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
        let Errand { url, headers, post, near } = errand;
        let mut request = if post.is_some() { Request::post(url) } else { Request::get(url) }
            .header(USER_AGENT, "agentgateway")
            .header(ACCEPT, "application/json, text/plain");
        for (name, value) in headers {
            let mut value = HeaderValue::from_bytes(value.expose()).map_err(|_| Fault::Url)?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        let body = match post {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, *kind);
                Bytes::copy_from_slice(body.expose())
            }
            None => Bytes::new(),
        };
        let request = request.body(body).map_err(|_| Fault::Url)?;
        let told = request.uri().host().and_then(|it| it.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let near: &[IpAddr] = match near {
            Near::Nobody => &[],
            Near::Metadata => &METADATA,
            Near::Told => told.as_slice(),
        };
        let answer = self.dispatch(near, request).await?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    /// Sends a request, whose URI is whole, as it is. Among the addresses that are never dialled only these are, `near`.
    pub(super) async fn dispatch(
        &self,
        near: &[IpAddr],
        request: Request<Bytes>,
    ) -> Result<http::Response<Bytes>, Fault> {
        let (mut head, body) = request.into_parts();
        let hop = Hop::of(head.uri).ok_or(Fault::Url)?;
        let known = self.addresses(&hop).await?.into_iter().find(|it| address::is_among(*it, near));
        let address = match known {
            Some(ip) => SocketAddr::new(ip, hop.port),
            None => self.address(&hop, None).await?,
        };
        head.uri = hop.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        if !head.headers.contains_key(HOST) {
            head.headers.insert(HOST, HeaderValue::from_str(hop.authority()).map_err(|_| Fault::Url)?);
        }
        let mut sender = spoken(self.reach(&hop, address).await?).await?;
        let asked = sender.send_request(Request::from_parts(head, Full::new(body))).await;
        let (head, body) = asked.map_err(|error| Fault::Exchange(error.to_string()))?.into_parts();
        Ok(http::Response::from_parts(head, whole(body, ANSWER_BYTES_MAX).await?))
    }
}
