//! What answers repeat of requests: as little as names the mistake.
//!
//! An answer names the id of its request, and an error quotes what it could not read. Both are the client's, and may have
//! megabytes.

use jsonrpsee::core::server::MethodResponse;
use jsonrpsee::server::middleware::rpc::RpcServiceT;
use jsonrpsee::types::{ErrorObject, ErrorObjectOwned, Request};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::future::Future;
use std::pin::Pin;

/// Bytes of a request that an answer repeats, at most.
const QUOTED_BYTES_MAX: usize = 200;
/// Bytes of an error's message. Messages are this node's own, with names and numbers of the request in them.
const MESSAGE_BYTES_MAX: usize = 600;

/// The only part of a request that is not read by its method.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// The answer to a request, or to a batch, with an id that is too long to be repeated.
pub(crate) fn refuse_long_id(body: &[u8]) -> Option<String> {
    if body.len() <= QUOTED_BYTES_MAX {
        return None;
    }
    let is_long = |named: Named<'_>| named.id.is_some_and(|id| id.get().len() > QUOTED_BYTES_MAX);
    let is_too_long = match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(calls) => calls
            .into_iter()
            .any(|call| serde_json::from_str(call.get()).is_ok_and(is_long)),
        Err(_) => serde_json::from_slice(body).is_ok_and(is_long),
    };
    let message = format!("id: longer than {QUOTED_BYTES_MAX} bytes");
    is_too_long.then(|| {
        let code = jsonrpsee::types::error::INVALID_REQUEST_CODE;
        serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}}).to_string()
    })
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
    let message = cut(error.message(), MESSAGE_BYTES_MAX);
    // Texts are quoted already; anything else is repeated as text only if it is too long.
    let data = error
        .data()
        .map(|data| match serde_json::from_str::<String>(data.get()) {
            Ok(text) => serde_json::Value::String(cut(&text, QUOTED_BYTES_MAX)),
            Err(_) if data.get().len() > QUOTED_BYTES_MAX => cut(data.get(), QUOTED_BYTES_MAX).into(),
            Err(_) => serde_json::from_str(data.get()).unwrap_or_default(),
        });
    ErrorObjectOwned::owned(error.code(), message, data)
}

/// At most `max` bytes of a text: its beginning, and its end, where parsers say what they expected and where.
fn cut(text: &str, max: usize) -> String {
    const GAP: &str = " … ";
    if text.len() <= max {
        return text.to_string();
    }
    let kept = max - GAP.len();
    let head = floor(text, kept * 3 / 5);
    let tail = (text.len() - kept * 2 / 5..=text.len()).find(|index| text.is_char_boundary(*index));
    format!("{}{GAP}{}", &text[..head], &text[tail.unwrap_or(text.len())..])
}

fn floor(text: &str, index: usize) -> usize {
    (0..=index)
        .rev()
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_an_id_that_is_too_long_is_refused() {
        let long = "x".repeat(QUOTED_BYTES_MAX);
        let call = |id: &str, rest: &str| format!(r#"{{"id":{id},"jsonrpc":"2.0"{rest}}}"#);
        let refused = |body: &str| refuse_long_id(body.as_bytes()).is_some();
        let params = format!(r#","method":"a","params":["{long}"]"#);
        assert!(!refused(&call("1", &params)));
        assert!(!refused(&call("null", &params)));
        assert!(refused(&call(&format!("\"{long}\""), "")), "not even a call");
        assert!(refused(&call(&format!("\"{long}\""), &params)));
        assert!(refused(&format!("[5, {}]", call(&format!("\"{long}\""), ""))));
        assert!(!refused(&format!("[5, {}]", call("7", &params))));
        assert!(
            !refused(&format!("{{{long}")),
            "that is no JSON: the answer names no id"
        );
        assert!(
            refuse_long_id(call(&format!("\"{long}\""), "").as_bytes())
                .unwrap()
                .len()
                < QUOTED_BYTES_MAX
        );
    }

    proptest! {
        #[test]
        fn a_text_that_is_cut_keeps_beginning_and_end(text in "\\PC{0,400}", max in 50usize..200) {
            let short = cut(&text, max);
            prop_assert!(short.len() <= max.max(text.len()));
            prop_assert_eq!(short == text, text.len() <= max);
            if text.len() > max {
                prop_assert!(short.len() <= max);
                let (head, tail) = short.split_once(" … ").unwrap();
                prop_assert!(text.starts_with(head) && text.ends_with(tail) || text.contains(" … "));
            }
        }
    }
}
