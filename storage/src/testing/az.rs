//! A server that speaks the dialect of Azure Blob Storage.

use std::collections::{BTreeMap, HashMap};
use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::bucket::{
    self, Answer, Dialect, Object, Objects, Refusal, Request, Running, decoded, elements, escaped,
    set, xml,
};
use super::{Access, StoreServer};

const CONTAINER: &str = "container";
const ACCOUNT: &str = "testaccount";
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// A server of Azure Blob Storage with one container, in memory. It asks for an authorization by
/// the account's key, whose signature it does not check; honours `If-None-Match` and `If-Match`,
/// and lists a hundred blobs at a time.
pub struct AzureServer(Running<Store>);

#[derive(Default)]
struct Store {
    objects: Objects,
    /// Blocks that are part of no blob yet, by the blob's name and their ids.
    blocks: HashMap<String, BTreeMap<String, Bytes>>,
    keeps_all: bool,
    archived: bool,
}

impl AzureServer {
    /// Starts a server with an empty container.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub fn start() -> io::Result<Self> {
        Running::start().map(Self)
    }

    /// From now on refuses to delete, as to an account that may only read and write.
    pub fn refuse_deletion(&self) {
        self.0.store().keeps_all = true;
    }

    /// Moves all blobs to the archive, from which nothing is read.
    pub fn archive(&self) {
        self.0.store().archived = true;
    }
}

impl StoreServer for AzureServer {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn access(&self) -> &'static Access {
        &Access {
            bucket: "az://container",
            // As emulators have it.
            path: "/testaccount",
            endpoint: "azure_storage_endpoint",
            settings: &[
                ("azure_storage_account_name", ACCOUNT),
                ("azure_storage_account_key", "dGVzdC1rZXk="),
            ],
        }
    }

    fn write(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.write(key, bytes);
        Ok(())
    }

    fn read(&self, key: &str) -> Option<Vec<u8>> {
        self.0.read(key)
    }

    fn unfinished_parts(&self) -> io::Result<usize> {
        Ok(self.0.store().blocks.values().map(BTreeMap::len).sum())
    }
}

const NO_BLOB: Refusal = (StatusCode::NOT_FOUND, "BlobNotFound");
const MALFORMED: Refusal = (StatusCode::BAD_REQUEST, "InvalidInput");

impl Dialect for Store {
    fn objects(&mut self) -> &mut Objects {
        &mut self.objects
    }

    fn answer(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let key = blob(request)?;
        let kind = (request.query("comp"), request.query("restype"));
        match (&request.method, kind) {
            (&Method::GET, (Some("list"), Some("container"))) => Ok(self.list(request)),
            (&Method::POST, (Some("batch"), Some("container"))) => self.batch(request),
            (&Method::GET | &Method::HEAD, (None, None)) => self.get(&key, request),
            (&Method::PUT, (None, None)) => self.put(&key, request),
            (&Method::PUT, (Some("block"), None)) => self.put_block(key, request),
            (&Method::PUT, (Some("blocklist"), None)) => self.put_block_list(&key, request),
            (&Method::DELETE, (None, None)) => self.delete(&key),
            _ => Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
        }
    }

    fn refusal((status, code): Refusal) -> Answer {
        let mut answer = bucket::refused((status, code));
        set(&mut answer, ERROR_CODE, code);
        answer
    }
}

impl Store {
    fn get(&self, key: &str, request: &Request) -> Result<Answer, Refusal> {
        let object = self.objects.get(key).ok_or(NO_BLOB)?;
        if self.archived && request.method == Method::GET {
            return Err((StatusCode::CONFLICT, "BlobArchived"));
        }
        let range = request.header("x-ms-range").or_else(|| request.header(header::RANGE));
        let answer = object.answer(&request.method, range);
        let mut answer = answer.ok_or((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"))?;
        set(&mut answer, header::ETAG, &tag(object));
        Ok(answer)
    }

    fn put(&mut self, key: &str, request: &Request) -> Result<Answer, Refusal> {
        if request.header("x-ms-blob-type") != Some("BlockBlob") {
            return Err((StatusCode::BAD_REQUEST, "MissingRequiredHeader"));
        }
        let found = self.objects.get(key);
        if request.header(header::IF_NONE_MATCH) == Some("*") && found.is_some() {
            return Err((StatusCode::CONFLICT, "BlobAlreadyExists"));
        }
        let wanted = request.header(header::IF_MATCH);
        if wanted.is_some_and(|wanted| found.is_none_or(|found| tag(found) != wanted)) {
            return Err((StatusCode::PRECONDITION_FAILED, "ConditionNotMet"));
        }
        Ok(self.commit(key, request.body.clone(), request))
    }

    fn put_block(&mut self, key: String, request: &Request) -> Result<Answer, Refusal> {
        let id = request.query("blockid").ok_or(MALFORMED)?;
        self.blocks.entry(key).or_default().insert(id.to_owned(), request.body.clone());
        Ok(bucket::status(StatusCode::CREATED))
    }

    fn put_block_list(&mut self, key: &str, request: &Request) -> Result<Answer, Refusal> {
        let list = String::from_utf8_lossy(&request.body);
        let mut whole = Vec::new();
        for id in elements(&list, "Uncommitted") {
            let block = self.blocks.get(key).and_then(|blocks| blocks.get(id));
            whole.extend_from_slice(block.ok_or((StatusCode::BAD_REQUEST, "InvalidBlockList"))?);
        }
        Ok(self.commit(key, whole.into(), request))
    }

    /// Makes the blob. Blocks that wait for one of its name are dropped.
    fn commit(&mut self, key: &str, bytes: Bytes, request: &Request) -> Answer {
        self.blocks.remove(key);
        let object = self.objects.put(key, bytes, request.metadata("x-ms-meta-"));
        let mut answer = bucket::status(StatusCode::CREATED);
        set(&mut answer, header::ETAG, &tag(object));
        set(&mut answer, header::LAST_MODIFIED, &object.modified());
        answer
    }

    fn delete(&mut self, key: &str) -> Result<Answer, Refusal> {
        if self.keeps_all {
            return Err((StatusCode::FORBIDDEN, "AuthorizationPermissionMismatch"));
        }
        let deleted = self.objects.delete(key);
        if deleted { Ok(bucket::status(StatusCode::ACCEPTED)) } else { Err(NO_BLOB) }
    }

    /// Deletions, each a request within the body.
    fn batch(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let kind = request.header(header::CONTENT_TYPE).ok_or(MALFORMED)?;
        let (_, boundary) = kind.split_once("boundary=").ok_or(MALFORMED)?;
        let body = String::from_utf8_lossy(&request.body);
        let mut answers = String::new();
        for part in body.split(&format!("--{boundary}\r\n") as &str).skip(1) {
            let (about, inner) = part.split_once("\r\n\r\n").ok_or(MALFORMED)?;
            let inner = deletion(inner).ok_or(MALFORMED)?;
            let answer = blob(&inner).and_then(|key| self.delete(&key));
            let (status, code) = answer.map_or_else(|error| error, |done| (done.status(), ""));
            let id = about.lines().find(|line| line.starts_with("Content-ID:")).ok_or(MALFORMED)?;
            answers += &format!(
                "--answers\r\nContent-Type: application/http\r\n{id}\r\n\r\nHTTP/1.1 {status}\r\n{ERROR_CODE}: {code}\r\n\r\n"
            );
        }
        let mut answer = xml(StatusCode::ACCEPTED, answers + "--answers--\r\n");
        set(&mut answer, header::CONTENT_TYPE, "multipart/mixed; boundary=answers");
        Ok(answer)
    }

    fn list(&self, request: &Request) -> Answer {
        let text = |name| request.query(name).unwrap_or_default();
        // A page is asked for by the last name of the one before. `startFrom` means nothing in the
        // version of the service that the client names.
        let (page, more) = self.objects.page(text("prefix"), text("marker"));
        let last = page.last().filter(|_| more).map_or("", |(last, _)| last);
        let next = format!("<NextMarker>{}</NextMarker>", escaped(last));
        let mut body = "<EnumerationResults><Blobs>".to_owned();
        for (key, object) in page {
            body += &format!(
                "<Blob><Name>{}</Name><Properties><Last-Modified>{}</Last-Modified><Etag>{}</Etag><Content-Length>{}</Content-Length><Content-Type>application/octet-stream</Content-Type></Properties></Blob>",
                escaped(key),
                object.modified(),
                escaped(&tag(object)),
                object.bytes.len()
            );
        }
        xml(StatusCode::OK, body + "</Blobs>" + &next + "</EnumerationResults>")
    }
}

/// The blob that a request is about; none in one about the container. An error if the request is not
/// signed by the account, or is about another container.
fn blob(request: &Request) -> Result<String, Refusal> {
    let signed = request.header(header::AUTHORIZATION);
    let signed = signed.ok_or((StatusCode::UNAUTHORIZED, "NoAuthenticationInformation"))?;
    let account = signed.strip_prefix("SharedKey ").and_then(|signed| signed.split_once(':'));
    if account.is_none_or(|(account, signature)| account != ACCOUNT || signature.is_empty()) {
        return Err((StatusCode::FORBIDDEN, "AuthenticationFailed"));
    }
    let (account, path) = request.path.split_once('/').unwrap_or_default();
    let (container, key) = path.split_once('/').unwrap_or((path, ""));
    if (account, container) != (ACCOUNT, CONTAINER) {
        return Err((StatusCode::NOT_FOUND, "ContainerNotFound"));
    }
    Ok(key.to_owned())
}

/// The request to delete that a text holds.
fn deletion(text: &str) -> Option<Request> {
    let mut lines = text.split("\r\n");
    let path = lines.next()?.strip_prefix("DELETE /")?.strip_suffix(" HTTP/1.1")?;
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        headers.insert(name.parse::<HeaderName>().ok()?, value.parse().ok()?);
    }
    let (method, path) = (Method::DELETE, decoded(path));
    Some(Request { method, path, query: BTreeMap::new(), headers, body: Bytes::new() })
}

/// Another after every put, be it of the same bytes.
fn tag(object: &Object) -> String {
    format!("\"0x{:016X}\"", object.generation)
}
