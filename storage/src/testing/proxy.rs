//! A proxy that spoils answers, to a plan.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, address_of};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered 503 with S3's `SlowDown`; the server does not see it.
    SlowDown,
    /// Answered 403; the server does not see it.
    Forbidden,
    /// The connection is reset before an answer; the server does not see the request.
    Refuse,
    /// No answer comes, and the connection stays open; the server does not see the request.
    Silent,
    /// The server does as it is asked, and the connection is reset before the answer.
    Lost,
    /// The connection is reset after so many bytes of the body.
    Reset {
        /// Bytes of the body that come through.
        after: usize,
    },
    /// Nothing more comes after so many bytes of the body, and the connection stays open.
    Stall {
        /// Bytes of the body that come through.
        after: usize,
    },
    /// The connection is closed, in good order, after so many bytes of the body.
    Cut {
        /// Bytes of the body that come through.
        after: usize,
    },
    /// The body has so many bytes less than it should, and a `Content-Length` that says the same.
    Short {
        /// Bytes that are missing.
        by: usize,
    },
}

/// A request as the proxy sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many came before.
    pub index: usize,
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header `Range`.
    pub range: Option<String>,
}

type Plan = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// Requests, and what became of them.
type Log = Mutex<Vec<(Request, Option<Fault>)>>;

/// Passes requests on to a server, one at each connection, and spoils what the plan says.
pub struct FaultProxy {
    server: Server,
    log: Arc<Log>,
}

impl FaultProxy {
    /// Starts a proxy before the server at an endpoint such as `http://127.0.0.1:9000`.
    ///
    /// # Errors
    ///
    /// If the endpoint names no such address or no port is free.
    pub fn start(
        endpoint: impl AsRef<str>,
        plan: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let server = address_of(endpoint.as_ref())?;
        let log: Arc<Log> = Arc::default();
        let kept = Arc::clone(&log);
        let plan: Arc<Plan> = Arc::new(plan);
        let server = Server::start(move |client| {
            let (plan, log) = (Arc::clone(&plan), Arc::clone(&log));
            async move {
                // A connection that breaks is what the client has to live with.
                let _ = talk(client, server, &*plan, &log).await;
            }
        })?;
        Ok(Self { server, log: kept })
    }

    /// The proxy's URL, to be used in place of the server's.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// The requests so far, and what became of them.
    #[must_use]
    pub fn log(&self) -> Vec<(Request, Option<Fault>)> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests were spoilt so far.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.log().iter().filter(|(_, fault)| fault.is_some()).count()
    }
}

async fn talk(mut client: TcpStream, server: SocketAddr, plan: &Plan, log: &Log) -> io::Result<()> {
    let Some((head, mut rest)) = read_head(&mut client).await? else { return Ok(()) };
    let length = header(&head, "content-length").and_then(|length| length.parse().ok());
    let length: usize = length.unwrap_or_default();
    if header(&head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    read_to(&mut client, &mut rest, length).await?;

    let fault = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut words = head.split(' ');
        let request = Request {
            index: log.len(),
            method: words.next().unwrap_or_default().to_owned(),
            target: words.next().unwrap_or_default().to_owned(),
            range: header(&head, "range").map(str::to_owned),
        };
        let fault = plan(&request);
        log.push((request, fault));
        fault
    };
    match fault {
        Some(Fault::SlowDown) => {
            return refuse(&mut client, "503 Slow Down", "SlowDown").await;
        }
        Some(Fault::Forbidden) => {
            return refuse(&mut client, "403 Forbidden", "AccessDenied").await;
        }
        Some(Fault::Refuse) => return client.set_zero_linger(),
        Some(Fault::Silent) => return wait_for_close(&mut client).await,
        _ => {}
    }

    let answer = pass_on(server, &head, &rest).await?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n");
    let (answer_head, body) = answer.split_at(body.map_or(answer.len(), |end| end + 4));
    let upto = |bytes: usize| &body[..bytes.min(body.len())];
    match fault {
        Some(Fault::Lost) => client.set_zero_linger(),
        Some(Fault::Reset { after }) => {
            client.write_all(answer_head).await?;
            client.write_all(upto(after)).await?;
            // What is still under way would be thrown away by the reset.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            client.set_zero_linger()
        }
        Some(Fault::Stall { after }) => {
            client.write_all(answer_head).await?;
            client.write_all(upto(after)).await?;
            wait_for_close(&mut client).await
        }
        Some(Fault::Cut { after }) => {
            client.write_all(answer_head).await?;
            client.write_all(upto(after)).await?;
            client.shutdown().await
        }
        // Of an answer without a body, as to HEAD, the length speaks of another.
        Some(Fault::Short { by }) if !body.is_empty() => {
            let short = upto(body.len().saturating_sub(by));
            let answer_head = String::from_utf8_lossy(answer_head);
            client
                .write_all(with_header(&answer_head, "content-length", short.len()).as_bytes())
                .await?;
            client.write_all(short).await?;
            client.shutdown().await
        }
        _ => {
            client.write_all(&answer).await?;
            client.shutdown().await
        }
    }
}

/// Head of a request, and what came of its body with it. None if the client closed before.
async fn read_head(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    const LONGEST: usize = 1 << 16;
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), body)));
        }
        if bytes.len() > LONGEST || client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

async fn read_to(client: &mut TcpStream, bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
    const LONGEST: usize = 1 << 28;
    while bytes.len() < length {
        if length > LONGEST || client.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn with_header(head: &str, name: &str, value: impl std::fmt::Display) -> String {
    let others = head.trim_end().lines().filter(|line| {
        !line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
    });
    let mut head: String = others.map(|line| format!("{line}\r\n")).collect();
    head.push_str(&format!("{name}: {value}\r\n\r\n"));
    head
}

/// The server's whole answer to a request.
async fn pass_on(server: SocketAddr, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    server.write_all(with_header(head, "connection", "close").as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn refuse(client: &mut TcpStream, status: &str, code: &str) -> io::Result<()> {
    let body = format!("<Error><Code>{code}</Code><Message>Refused by plan.</Message></Error>");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

async fn wait_for_close(client: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1024];
    while client.read(&mut ignored).await? > 0 {}
    Ok(())
}
