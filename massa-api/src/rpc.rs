//! What answers repeat of requests: as little as names the mistake.
//!
//! An answer names the id of its request, and an error quotes what it could not read. Both are the client's, and may have
//! megabytes.

use jsonrpsee::core::server::MethodResponse;
use jsonrpsee::server::middleware::rpc::RpcServiceT;
use jsonrpsee::types::error::{reject_too_big_batch_request, INVALID_REQUEST_CODE};
use jsonrpsee::types::{ErrorObject, ErrorObjectOwned, Request};
use massa_api_exports::text::{self, QUOTED_BYTES_MAX};
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Bytes of an error's message. Messages are this node's own, with names and numbers of the request in them.
const MESSAGE_BYTES_MAX: usize = 600;

/// The only part of a request that is not read by its method.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// What is to be known of a request before its calls are parsed.
#[derive(Default)]
struct Seen {
    calls: usize,
    has_long_id: bool,
}

/// Looks at the calls of a batch, at most `calls_max` of them: a list of them all may take many times the bytes of the
/// request.
struct Batch<'a> {
    seen: &'a mut Seen,
    calls_max: usize,
}

impl<'de> Visitor<'de> for Batch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of calls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut calls: A) -> Result<(), A::Error> {
        while self.seen.calls <= self.calls_max {
            let Some(call) = calls.next_element::<&RawValue>()? else {
                break;
            };
            self.seen.calls += 1;
            self.seen.has_long_id |= has_long_id(call.get().as_bytes());
        }
        Ok(())
    }
}

fn has_long_id(call: &[u8]) -> bool {
    let is_long = |named: Named<'_>| named.id.is_some_and(|id| id.get().len() > QUOTED_BYTES_MAX);
    call.len() > QUOTED_BYTES_MAX && serde_json::from_slice(call).is_ok_and(is_long)
}

/// Looks at a request. What is not JSON is left to whoever parses it.
fn look(body: &[u8], calls_max: usize) -> Seen {
    let mut seen = Seen::default();
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        let batch = Batch {
            seen: &mut seen,
            calls_max,
        };
        // What was seen until it failed counts.
        let _ = serde_json::Deserializer::from_slice(body).deserialize_seq(batch);
    } else {
        seen.has_long_id = has_long_id(body);
    }
    seen
}

/// The answer to a request that is not to be parsed: its id is too long to be repeated, or it has more than `calls_max`
/// calls.
pub(crate) fn refuse(body: &[u8], calls_max: usize) -> Option<String> {
    let seen = look(body, calls_max);
    let error = if seen.calls > calls_max {
        reject_too_big_batch_request(calls_max)
    } else if seen.has_long_id {
        let message = format!("id: longer than {QUOTED_BYTES_MAX} bytes");
        ErrorObject::owned(INVALID_REQUEST_CODE, message, None::<()>)
    } else {
        return None;
    };
    Some(serde_json::json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string())
}

/// Shortens errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RpcLayer;

/// Calls whose errors are short.
#[derive(Clone, Debug)]
pub(crate) struct ShortErrors<S>(S);

impl<S> tower::Layer<S> for RpcLayer {
    type Service = ShortErrors<S>;

    fn layer(&self, calls: S) -> Self::Service {
        ShortErrors(calls)
    }
}

impl<'a, S> RpcServiceT<'a> for ShortErrors<S>
where
    S: RpcServiceT<'a> + Send + Sync,
    S::Future: 'a,
{
    type Future = Pin<Box<dyn Future<Output = MethodResponse> + Send + 'a>>;

    fn call(&self, request: Request<'a>) -> Self::Future {
        let id = request.id.clone();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if !answer.is_error() || answer.as_result().len() <= QUOTED_BYTES_MAX {
                return answer;
            }
            match error_of(answer.as_result()) {
                Some(error) => MethodResponse::error(id, shortened(&error)),
                None => answer,
            }
        })
    }
}

#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    error: ErrorObject<'a>,
}

fn error_of(answer: &str) -> Option<ErrorObject<'_>> {
    serde_json::from_str::<Failed<'_>>(answer)
        .ok()
        .map(|failed| failed.error)
}

fn shortened(error: &ErrorObject<'_>) -> ErrorObjectOwned {
    let message = text::shortened(error.message(), MESSAGE_BYTES_MAX);
    // Texts are quoted already; anything else is repeated as text only if it is too long.
    let data = error
        .data()
        .map(|data| match serde_json::from_str::<String>(data.get()) {
            Ok(text) => serde_json::Value::String(text::cut(&text, QUOTED_BYTES_MAX)),
            Err(_) if data.get().len() > QUOTED_BYTES_MAX => text::cut(data.get(), QUOTED_BYTES_MAX).into(),
            Err(_) => serde_json::from_str(data.get()).unwrap_or_default(),
        });
    ErrorObjectOwned::owned(error.code(), message, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS_MAX: usize = 3;

    #[test]
    fn only_an_id_that_is_too_long_is_refused() {
        let long = "x".repeat(QUOTED_BYTES_MAX);
        let call = |id: &str, rest: &str| format!(r#"{{"id":{id},"jsonrpc":"2.0"{rest}}}"#);
        let refused = |body: &str| refuse(body.as_bytes(), CALLS_MAX);
        let params = format!(r#","method":"a","params":["{long}"]"#);
        let long_id = call(&format!("\"{long}\""), "");
        for body in [
            call("1", &params),
            call("null", &params),
            format!("[5, {}]", call("7", &params)),
            // That is no JSON: the answer names no id.
            format!("{{{long}"),
            format!("[{{{long}"),
            "[]".to_string(),
        ] {
            assert_eq!(refused(&body), None, "{body}");
        }
        for body in [
            long_id.clone(),
            call(&format!("\"{long}\""), &params),
            format!(" [5, {long_id}]"),
            format!("[{long_id}, {{"),
        ] {
            let answer = refused(&body).unwrap_or_else(|| panic!("{body}"));
            assert!(answer.contains("id: longer than 200 bytes"), "{answer}");
            assert!(answer.len() < QUOTED_BYTES_MAX, "{answer}");
        }
    }

    #[test]
    fn a_batch_is_counted_before_there_is_a_list_of_its_calls() {
        let batch = |calls: usize| format!("[{}]", vec!["1"; calls].join(","));
        assert_eq!(refuse(batch(CALLS_MAX).as_bytes(), CALLS_MAX), None);
        let answer = refuse(batch(CALLS_MAX + 1).as_bytes(), CALLS_MAX).unwrap();
        assert!(answer.contains("-32010") && answer.contains("batch"), "{answer}");
        let seen = look(batch(1_000_000).as_bytes(), CALLS_MAX);
        assert_eq!(seen.calls, CALLS_MAX + 1, "the others are not looked at");
        let not_text = [b"[1,1,1,1,1,\"", &[0xff][..], b"\"]"].concat();
        assert!(refuse(&not_text, CALLS_MAX).is_some());
    }
}
