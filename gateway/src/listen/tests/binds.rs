use std::collections::BTreeMap;
use std::os::fd::AsFd;

use ir::BindAddress;
use tokio::sync::watch;

use super::*;
use crate::listen::reconcile::Doors;
use crate::listen::{Listeners, Offer, Reports, Setup, Stage, Wanted};

struct Running {
    wanted: watch::Sender<Arc<Wanted>>,
    reports: Arc<Reports>,
    drain: Arc<Drain>,
    generation: u64,
    service: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(inherited: Vec<Offer>) -> Self {
        let (wanted, seen) = watch::channel(Arc::default());
        let drain = Drain::new();
        let setup = Setup {
            app: Arc::new(Echo),
            plans: Arc::new(|| unreachable!("nobody connects")),
            telemetry: telemetry(),
            drain: Arc::clone(&drain),
            asking: crate::outside::Asking::offline(&telemetry()),
            enable_ipv6: true,
            removed_bind_deadline: Duration::from_secs(1),
            inherited,
        };
        let (listeners, reports) = Listeners::new(setup, seen.clone());
        let doors = Doors::new(Arc::clone(&listeners.shared), Arc::clone(&reports), 2);
        let service = tokio::spawn(async move {
            let (_never, shutdown) = watch::channel(false);
            doors.run(seen, listeners.inherited, (shutdown, None)).await;
        });
        Self { wanted, reports, drain, generation: 0, service }
    }

    /// Wants these binds, waits, and tells what became of them: an address or `error`.
    async fn want(&mut self, binds: &[(&str, BindAddress)]) -> Vec<String> {
        self.generation += 1;
        let binds: BTreeMap<_, _> = binds.iter().map(|(key, it)| (BindKey::new(*key), it.clone())).collect();
        self.wanted.send_replace(Arc::new(Wanted { generation: self.generation, binds }));
        self.reports.reconciled(self.generation).await;
        self.told()
    }

    fn told(&self) -> Vec<String> {
        let bound = self.reports.bound().into_iter();
        bound.map(|it| it.address.or(it.error.map(|_| "error".to_owned())).unwrap_or_default()).collect()
    }
}

fn at(address: &str) -> BindAddress {
    BindAddress::Socket(address.parse().unwrap())
}

async fn taken(address: &str) -> bool {
    TcpStream::connect(address).await.is_ok()
}

#[tokio::test]
async fn binds_come_and_go_while_running() {
    let mut running = Running::start(vec![]);
    let first = running.want(&[("a", at("127.0.0.1:0"))]).await.remove(0);
    assert!(taken(&first).await);
    let told = running.want(&[("a", at("127.0.0.1:0")), ("b", at("127.0.0.1:0"))]).await;
    assert_eq!(told[0], first, "one that stays keeps its port");
    running.want(&[("b", at("127.0.0.1:0"))]).await;
    assert!(!taken(&first).await && taken(&told[1]).await);
}

#[tokio::test]
async fn a_port_that_is_taken_harms_its_bind_only_and_heals() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let mut running = Running::start(vec![]);
    let told = running.want(&[("a", at(&address)), ("b", at("127.0.0.1:0"))]).await;
    assert_eq!(told[0], "error");
    assert!(taken(&told[1]).await);
    assert!(running.reports.bound()[0].error.as_ref().unwrap().contains("in use"));
    drop(other);
    while running.told()[0] == "error" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running.told()[0], address);
}

#[tokio::test]
async fn a_port_freed_and_taken_in_one_update_works() {
    let mut running = Running::start(vec![]);
    let address = running.want(&[("a", at("127.0.0.1:0"))]).await.remove(0);
    let same = at(&address);
    // `a` still has it under another wording, so the first try fails.
    assert_eq!(running.want(&[("b", same.clone())]).await.concat(), address);
    // And under the same wording the socket just changes hands.
    assert_eq!(running.want(&[("c", same)]).await.concat(), address);
    assert!(taken(&address).await);
}

#[tokio::test]
async fn sockets_of_a_predecessor_are_taken_over_and_the_rest_closed() {
    let (kept, left) =
        (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = [&kept, &left].map(|it| it.local_addr().unwrap().to_string());
    let offer = |it: std::net::TcpListener, address: &String| Offer {
        key: "x".into(),
        address: address.clone(),
        socket: it.into(),
    };
    let kept_too = kept.as_fd().try_clone_to_owned().unwrap();
    let mut running = Running::start(vec![offer(kept, &addresses[0]), offer(left, &addresses[1])]);
    // Bound anew it would be in use: `kept_too` still holds it.
    let told = running.want(&[("a", at(&addresses[0]))]).await;
    assert_eq!(told, [addresses[0].clone()]);
    assert!(!taken(&addresses[1]).await);
    assert_eq!(running.reports.offers().unwrap().len(), 1);
    drop(kept_too);
}

#[tokio::test]
async fn the_drain_closes_the_sockets_and_the_cut_ends_the_service() {
    let mut running = Running::start(vec![]);
    let address = running.want(&[("a", at("127.0.0.1:0"))]).await.remove(0);
    running.drain.enter(Stage::Draining);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!running.service.is_finished());
    running.drain.enter(Stage::Cut);
    running.service.await.unwrap();
    assert!(!taken(&address).await);
}
