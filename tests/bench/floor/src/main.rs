//! The floor: the least a proxy on Pingora can do, built as the gateway is. Everything the gateway
//! costs is measured against it.
//!
//! `floor <upstream> <plain address> [<TLS address> <certificate> <key>]`

use async_trait::async_trait;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::{ProxyHttp, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Floor {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Floor {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 4096, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(Some(Opt::default()), conf);
    server.bootstrap();
    let floor = Floor { upstream: arguments[0].clone() };
    let mut service = pingora_proxy::http_proxy_service(&server.configuration, floor);
    service.add_tcp(&arguments[1]);
    if let [address, certificate, key] = &arguments[2..] {
        let mut tls = TlsSettings::intermediate(certificate, key).expect("the certificate");
        tls.enable_h2();
        service.add_tls_with_settings(address, None, tls);
    }
    server.add_service(service);
    server.run_forever();
}
