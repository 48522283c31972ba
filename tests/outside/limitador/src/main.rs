//! Limitador behind Envoy's rate limit service: `limitador-served REDIS DOMAIN HITS SECONDS VARIABLE`.
//!
//! The project publishes its limiter as a crate, and its server as an image only; what the server does is taken from the
//! crate, the messages from another one, and between the two there is this. `VARIABLE` is what tells the counters apart:
//! CEL over `descriptors`, such as `descriptors[0].user`. Prints the address that it listens on.

use std::collections::HashMap;
use std::error::Error;

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use limitador::limit::{Context, Expression, Limit, Namespace};
use limitador::storage::redis::AsyncRedisStorage;
use limitador::{AsyncRateLimiter, CheckResult};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

struct Service(AsyncRateLimiter);

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(&self, asked: Request<RateLimitRequest>) -> Result<Response<RateLimitResponse>, Status> {
        let RateLimitRequest { domain, descriptors, hits_addend } = asked.into_inner();
        let entries = |it: envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor| {
            it.entries.into_iter().map(|it| (it.key, it.value)).collect::<HashMap<_, _>>()
        };
        let mut context = Context::default();
        context.list_binding("descriptors".to_owned(), descriptors.into_iter().map(entries).collect());
        let hits = u64::from(hits_addend.max(1));
        let checked = self.0.check_rate_limited_and_update(&Namespace::from(domain), &context, hits).await;
        let mut checked: CheckResult = checked.map_err(|it| Status::unavailable(it.to_string()))?;
        let code = if checked.limited { Code::OverLimit } else { Code::Ok };
        let header = |(key, value): (String, String)| HeaderValue { key, value, ..HeaderValue::default() };
        Ok(Response::new(RateLimitResponse {
            overall_code: code.into(),
            response_headers_to_add: checked.response_header().into_iter().map(header).collect(),
            ..RateLimitResponse::default()
        }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [redis, domain, hits, seconds, variable] = arguments.as_slice() else {
        return Err("usage: limitador-served REDIS DOMAIN HITS SECONDS VARIABLE".into());
    };
    let limiter = AsyncRateLimiter::new_with_storage(Box::new(AsyncRedisStorage::new(redis).await?));
    let variable = Expression::parse(variable)?;
    limiter.add_limit(Limit::new(domain.as_str(), hits.parse()?, seconds.parse()?, vec![], vec![variable]));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let server = tonic::transport::Server::builder().add_service(RateLimitServiceServer::new(Service(limiter)));
    Ok(server.serve_with_incoming(TcpListenerStream::new(listener)).await?)
}
