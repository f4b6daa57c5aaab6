//! A server that speaks the XML dialect of Google Cloud Storage.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::bucket::{
    self, Answer, Dialect, Object, Objects, Refusal, Request, Running, digest, elements, escaped,
    set, xml,
};
use super::{Access, StoreServer};

const BUCKET: &str = "bucket";
const TOKEN: &str = "test-token";
const GENERATION: HeaderName = HeaderName::from_static("x-goog-generation");
const IF_GENERATION: HeaderName = HeaderName::from_static("x-goog-if-generation-match");

/// The least size of a part that is not the last.
const LEAST_PART: usize = 5 << 20;

/// A server of Google Cloud Storage with one bucket, in memory. It asks for a token, honours
/// `x-goog-if-generation-match`, and lists a hundred objects at a time.
pub struct GcsServer(Running<Store>);

#[derive(Default)]
struct Store {
    objects: Objects,
    /// By their ids.
    uploads: BTreeMap<String, Upload>,
}

struct Upload {
    key: String,
    metadata: HeaderMap,
    parts: BTreeMap<usize, Bytes>,
}

impl GcsServer {
    /// Starts a server with an empty bucket.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub fn start() -> io::Result<Self> {
        Running::start().map(Self)
    }
}

impl StoreServer for GcsServer {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn access(&self) -> &'static Access {
        &Access {
            bucket: "gs://bucket",
            path: "",
            endpoint: "google_base_url",
            settings: &[("google_bearer_token", TOKEN)],
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
        Ok(self.0.store().uploads.values().map(|upload| upload.parts.len()).sum())
    }
}

const NO_UPLOAD: Refusal = (StatusCode::NOT_FOUND, "NoSuchUpload");
const NO_KEY: Refusal = (StatusCode::NOT_FOUND, "NoSuchKey");

impl Dialect for Store {
    fn objects(&mut self) -> &mut Objects {
        &mut self.objects
    }

    fn answer(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let token = request.header(header::AUTHORIZATION);
        if token.and_then(|token| token.strip_prefix("Bearer ")) != Some(TOKEN) {
            return Err((StatusCode::UNAUTHORIZED, "AuthenticationRequired"));
        }
        let (bucket, key) = request.path.split_once('/').unwrap_or((&request.path, ""));
        if bucket != BUCKET {
            return Err((StatusCode::NOT_FOUND, "NoSuchBucket"));
        }
        let (upload, part) = (request.query("uploadId"), request.query("partNumber"));
        match (&request.method, upload, part) {
            (&Method::GET, ..) if key.is_empty() && request.query("list-type") == Some("2") => {
                Ok(self.list(request))
            }
            (&Method::GET | &Method::HEAD, None, None) if !key.is_empty() => self.get(key, request),
            (&Method::PUT, None, None) => self.put(key, request),
            (&Method::DELETE, None, None) => {
                let deleted = self.objects.delete(key);
                if deleted { Ok(bucket::status(StatusCode::NO_CONTENT)) } else { Err(NO_KEY) }
            }
            (&Method::POST, None, None) if request.query("uploads").is_some() => {
                Ok(self.begin(key, request))
            }
            (&Method::PUT, Some(id), Some(part)) => self.put_part(id, part, request),
            (&Method::POST, Some(id), None) => self.complete(id, request),
            (&Method::DELETE, Some(id), None) => {
                self.uploads.remove(id).ok_or(NO_UPLOAD)?;
                Ok(bucket::status(StatusCode::NO_CONTENT))
            }
            _ => Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
        }
    }
}

impl Store {
    fn get(&self, key: &str, request: &Request) -> Result<Answer, Refusal> {
        let object = self.objects.get(key).ok_or(NO_KEY)?;
        let answer = object.answer(&request.method, request.header(header::RANGE));
        let mut answer = answer.ok_or((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"))?;
        tag(&mut answer, object);
        Ok(answer)
    }

    fn put(&mut self, key: &str, request: &Request) -> Result<Answer, Refusal> {
        // Of an object that is not there the generation is 0.
        let found = self.objects.get(key).map_or(0, |object| object.generation).to_string();
        if request.header(IF_GENERATION).is_some_and(|wanted| wanted != found) {
            return Err((StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
        }
        let metadata = request.metadata("x-goog-meta-");
        let object = self.objects.put(key, request.body.clone(), metadata);
        let mut answer = bucket::status(StatusCode::OK);
        tag(&mut answer, object);
        Ok(answer)
    }

    fn begin(&mut self, key: &str, request: &Request) -> Answer {
        let id = format!("upload-{}", self.objects.next_generation());
        let metadata = request.metadata("x-goog-meta-");
        let upload = Upload { key: key.to_owned(), metadata, parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        let body = format!(
            "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        );
        xml(StatusCode::OK, body)
    }

    fn put_part(&mut self, id: &str, part: &str, request: &Request) -> Result<Answer, Refusal> {
        let upload = self.uploads.get_mut(id).ok_or(NO_UPLOAD)?;
        let part = part.parse().map_err(|_| (StatusCode::BAD_REQUEST, "InvalidArgument"))?;
        upload.parts.insert(part, request.body.clone());
        let mut answer = bucket::status(StatusCode::OK);
        set(&mut answer, header::ETAG, &digest(&request.body));
        Ok(answer)
    }

    fn complete(&mut self, id: &str, request: &Request) -> Result<Answer, Refusal> {
        const INVALID: Refusal = (StatusCode::BAD_REQUEST, "InvalidPart");
        let upload = self.uploads.get(id).ok_or(NO_UPLOAD)?;
        let list = String::from_utf8_lossy(&request.body);
        let (numbers, tags) = (elements(&list, "PartNumber"), elements(&list, "ETag"));
        if numbers.is_empty() || numbers.len() != tags.len() {
            return Err((StatusCode::BAD_REQUEST, "MalformedCompleteMultipartUploadRequest"));
        }
        let mut whole = Vec::new();
        for (index, (number, tag)) in numbers.iter().zip(&tags).enumerate() {
            let part = number.parse().ok().and_then(|number: usize| upload.parts.get(&number));
            let part = part.filter(|part| digest(part) == *tag).ok_or(INVALID)?;
            if part.len() < LEAST_PART && index + 1 < numbers.len() {
                return Err((StatusCode::BAD_REQUEST, "EntityTooSmall"));
            }
            whole.extend_from_slice(part);
        }
        let upload = self.uploads.remove(id).ok_or(NO_UPLOAD)?;
        let object = self.objects.put(&upload.key, whole.into(), upload.metadata);
        let body = format!(
            "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><ETag>{}</ETag></CompleteMultipartUploadResult>",
            escaped(&digest(&object.bytes))
        );
        let mut answer = xml(StatusCode::OK, body);
        tag(&mut answer, object);
        Ok(answer)
    }

    fn list(&self, request: &Request) -> Answer {
        let text = |name| request.query(name).unwrap_or_default();
        // A page is asked for by the last name of the one before.
        let after = text("continuation-token").max(text("start-after"));
        let (page, more) = self.objects.page(text("prefix"), after);
        let mut body = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
        if let Some((last, _)) = page.last().filter(|_| more) {
            let next = escaped(last);
            body += &format!("<NextContinuationToken>{next}</NextContinuationToken>");
        }
        for (key, object) in page {
            body += &format!(
                "<Contents><Key>{}</Key><Generation>{}</Generation><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                escaped(key),
                object.generation,
                object.modified_iso(),
                escaped(&digest(&object.bytes)),
                object.bytes.len()
            );
        }
        xml(StatusCode::OK, body + "</ListBucketResult>")
    }
}

/// As the store has it, the ETag tells the bytes and the generation tells the put.
fn tag(answer: &mut Answer, object: &Object) {
    set(answer, header::ETAG, &digest(&object.bytes));
    set(answer, GENERATION, &object.generation.to_string());
}
