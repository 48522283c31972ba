use std::net::Ipv4Addr;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::dns::{Answer, Resolve};
use super::*;

/// Names of these tests.
struct Zone;

impl Resolve for Zone {
    fn resolve(&self, host: Text) -> BoxFuture<'static, Result<Answer, String>> {
        let address = match &*host {
            "here.test" => Ok([127, 0, 0, 1]),
            "metadata.test" => Ok([169, 254, 169, 254]),
            _ => Err("no such name".to_owned()),
        };
        let answer = address.map(|it| Answer { addresses: vec![Ipv4Addr::from(it).into()], ttl: FETCH_DEADLINE });
        async move { answer }.boxed()
    }
}

/// A server that gives these answers, one a connection; and an egress whose names are resolved.
async fn server(answers: Vec<String>) -> (Egress, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if socket.read(&mut byte).await.unwrap() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            // The client may have heard enough.
            let _ = socket.write_all(answer.replace("PORT", &port.to_string()).as_bytes()).await;
        }
    });
    let names = Arc::new(Names::new(Box::new(Zone)));
    let running = names.clone();
    tokio::spawn(async move { running.run().await });
    (Egress::new(names, Arc::new([])), port)
}

fn ask() -> Ask {
    Ask { accept: "application/json", bytes_max: 1000, etag: None }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\netag: \"1\"\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn an_answer_is_fetched_by_name_and_over_redirects() {
    let (egress, port) = server(vec![redirect("/b"), redirect("http://here.test:PORT/c"), ok("keys")]).await;
    let fetched = egress.get(&format!("http://here.test:{port}/a"), &ask()).await.unwrap();
    assert_eq!(
        (fetched.status, &fetched.body[..], fetched.etag().unwrap()),
        (200, &b"keys"[..], "\"1\"".parse().unwrap())
    );
}

#[tokio::test]
async fn hostile_servers_get_nothing() {
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        "64\r\n".to_owned() + &"x".repeat(100) + "\r\n"
    );
    for (answers, why) in [
        (vec![redirect("http://169.254.169.254/latest")], "169.254.169.254 is refused"),
        (vec![redirect("http://metadata.test/latest")], "169.254.169.254 is refused"),
        (vec![redirect("http://[fd00:ec2::254]/latest")], "a metadata service"),
        (vec![redirect("file:///etc/passwd")], "leads nowhere"),
        (vec![redirect("//here.test/")], "leads nowhere"),
        (vec![redirect("http://user:pass@here.test/")], "leads nowhere"),
        (vec![redirect("/"); 5], "too many redirects"),
        (vec![ok(&"x".repeat(1001))], "larger than 1000"),
        (vec![chunked.to_owned() + &("64\r\n".to_owned() + &"x".repeat(100) + "\r\n").repeat(20)], "larger than 1000"),
        (vec!["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned()], "status 500"),
        (vec!["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned()], "the exchange failed"),
        (vec!["SSH-2.0-x\r\n".to_owned()], "the exchange failed"),
        (vec![format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024))], "the exchange failed"),
        (vec![String::new()], "the exchange failed"),
    ] {
        let (egress, port) = server(answers).await;
        let fault = egress.get(&format!("http://here.test:{port}/"), &ask()).await.unwrap_err().to_string();
        assert!(fault.contains(why), "{fault} lacks {why:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let (egress, _) = server(Vec::new()).await;
    for (url, why) in [
        ("http://absent.test/", "cannot be resolved: no such name"),
        ("http://169.254.169.254/", "link-local"),
        ("http://metadata.test/", "link-local"),
        ("http://0.0.0.0/", "not an address of a host"),
        ("ftp://here.test/", "not a URL"),
        ("here.test", "not a URL"),
    ] {
        let fault = egress.get(url, &ask()).await.unwrap_err().to_string();
        assert!(fault.contains(why), "{url}: {fault}");
    }
}

#[tokio::test]
async fn https_is_not_left_for_http() {
    let secure = Hop::parse("https://here.test/").unwrap();
    let to = |text: &'static str| HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(text))]);
    assert_eq!(secure.next(&to("http://here.test/")).map(|_| ()), Err(Fault::Downgrade));
    assert!(secure.next(&to("https://other.test/")).is_ok());
    assert!(secure.next(&to("/there")).is_ok_and(|it| it.tls && it.authority() == "here.test"));
}
