//! Who may ask: the names under which a server is asked, the pages that ask, the token, and whose address a request is of.
//!
//! Whoever reaches the private server is not the operator yet: any page in the operator's browser reaches it too. A page
//! sends the name it used (`Host`) and its own (`Origin`); a name that an attacker's DNS made point here is foreign, and
//! so is a page that was not served by this machine. What is left is a program on this machine, and that needs the token.

use crate::api::Side;
use hyper::header::{HeaderMap, HeaderName, AUTHORIZATION, HOST, ORIGIN};
use hyper::{Request, StatusCode};
use massa_wallet::ApiToken;
use std::net::{IpAddr, SocketAddr};

/// Names of this machine, for itself.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// Where proxies tell for whom they ask.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Why a request is refused before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub status: StatusCode,
    pub reason: &'static str,
}

const HOST_REFUSED: Refused = Refused {
    status: StatusCode::FORBIDDEN,
    reason: "the Host of the request is not one of this server's: see api.allow_hosts",
};
const ORIGIN_REFUSED: Refused = Refused {
    status: StatusCode::FORBIDDEN,
    reason: "pages of this Origin may not ask this server: see api.allow_hosts",
};
const TOKEN_MISSING: Refused = Refused {
    status: StatusCode::UNAUTHORIZED,
    reason: "the private API needs the node's token as Authorization: Bearer",
};
const TOKEN_WRONG: Refused = Refused {
    status: StatusCode::UNAUTHORIZED,
    reason: "the token is not this node's",
};

/// A host that requests may name, with a port or with any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedHost {
    host: String,
    port: Option<u16>,
}

impl AllowedHost {
    /// `name`, `name:port` or `name:*`; an IPv6 address stands in brackets. `None` if it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_host = !host.is_empty() && (host.starts_with('[') || host.chars().all(is_name));
        let port = match port {
            None | Some("*") => None,
            Some(port) => Some(port.parse().ok()?),
        };
        let host = host.to_ascii_lowercase();
        is_host.then_some(Self { host, port })
    }

    fn allows(&self, authority: &str) -> bool {
        let Some((host, port)) = split_port(authority) else {
            return false;
        };
        let is_port = |wanted: u16| port.is_some_and(|port| port.parse() == Ok(wanted));
        host.eq_ignore_ascii_case(&self.host) && self.port.map_or(true, is_port)
    }
}

/// Host and port of an authority. `None` for what names nobody, or somebody in a way that could be read in two.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.contains(['@', '/', '?', '#', ' ']) {
        return None;
    }
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// What a server asks of a request.
#[derive(Debug)]
pub(crate) struct Access {
    pub side: Side,
    pub allow_hosts: Vec<AllowedHost>,
    pub token: ApiToken,
    pub trusted_proxies: Vec<IpAddr>,
}

impl Access {
    /// Whether a request that came in on `local` may be read, and if so, whether it is the operator's.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check<B>(&self, request: &Request<B>, local: SocketAddr) -> Result<bool, Refused> {
        let headers = request.headers();
        let named = request.uri().authority().map(|authority| authority.as_str());
        match self.side {
            // Upstream: an empty list allows any host. Any page may ask, too.
            Side::Public if self.allow_hosts.is_empty() => {}
            Side::Public => self.check_host(headers, named, |host| self.is_allowed(host))?,
            Side::Private => {
                let is_own = |host: &str| is_own(host, local.ip()) || self.is_allowed(host);
                self.check_host(headers, named, is_own)?;
                check_origin(headers, is_own)?;
            }
        }
        match bearer(headers) {
            Some(token) if self.token.is(token) => Ok(true),
            _ if self.side == Side::Public => Ok(false),
            Some(_) => Err(TOKEN_WRONG),
            None => Err(TOKEN_MISSING),
        }
    }

    fn is_allowed(&self, host: &str) -> bool {
        self.allow_hosts.iter().any(|allowed| allowed.allows(host))
    }

    /// The name in the header, and the one in the first line if there is one there too.
    fn check_host(
        &self,
        headers: &HeaderMap,
        named: Option<&str>,
        is_own: impl Fn(&str) -> bool,
    ) -> Result<(), Refused> {
        let host = only_one(headers, HOST).ok_or(HOST_REFUSED)?;
        if is_own(host) && named.map_or(true, &is_own) {
            Ok(())
        } else {
            Err(HOST_REFUSED)
        }
    }

    /// Whether connections from `address` are a named proxy's, and of many clients.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies.contains(&address.to_canonical())
    }

    /// Who asks: the peer; behind a named proxy, the last address that no named proxy has.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR);
        let named: Vec<&str> = lines
            .iter()
            .flat_map(|line| line.to_str().unwrap_or_default().split(','))
            .collect();
        // Each proxy adds the address it was asked from at the end: what stands before it may be invented.
        for text in named.into_iter().rev() {
            if !self.is_proxy(client) {
                break;
            }
            match parse_address(text.trim()) {
                Some(address) => client = address.to_canonical(),
                None => break,
            }
        }
        client
    }
}

fn check_origin(headers: &HeaderMap, is_own: impl Fn(&str) -> bool) -> Result<(), Refused> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let origin = only_one(headers, ORIGIN).and_then(|origin| origin.split_once("://"));
    match origin {
        Some((_, authority)) if is_own(authority) => Ok(()),
        _ => Err(ORIGIN_REFUSED),
    }
}

fn only_one(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// A loopback name, or the address on which the request came in. No page of others has that one: it is this server's own.
fn is_own(authority: &str, local: IpAddr) -> bool {
    let Some((host, _)) = split_port(authority) else {
        return false;
    };
    let is_loopback = LOOPBACK_NAMES.iter().any(|name| host.eq_ignore_ascii_case(name));
    is_loopback || parse_address(host).is_some_and(|address| address.to_canonical() == local.to_canonical())
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// An address, with or without port; in brackets or not.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "192.0.2.1:33034";

    fn access(side: Side, allow_hosts: &[&str]) -> Access {
        Access {
            side,
            allow_hosts: allow_hosts
                .iter()
                .map(|host| AllowedHost::parse(host).unwrap())
                .collect(),
            token: ApiToken::generate(),
            trusted_proxies: vec!["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
        }
    }

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::post("/");
        let add = |request: hyper::http::request::Builder, (name, value): &(&str, &str)| request.header(*name, *value);
        headers.iter().fold(request, add).body(()).unwrap()
    }

    fn status(access: &Access, request: &Request<()>) -> u16 {
        let checked = access.check(request, LOCAL.parse().unwrap());
        checked.map_or_else(|refused| refused.status.as_u16(), |_| 200)
    }

    #[test]
    fn the_private_server_is_asked_under_names_of_this_machine_and_those_allowed() {
        let access = access(Side::Private, &["node.example", "other.example:8080"]);
        let bearer = format!("Bearer {}", access.token.secret());
        let asked = |host: &str| status(&access, &request(&[("host", host), ("authorization", &bearer)]));
        for host in [
            "localhost",
            "LOCALHOST:33034",
            "127.0.0.1:1",
            "[::1]:33034",
            "192.0.2.1:33034",
            "node.example",
            "node.example:99",
            "other.example:8080",
        ] {
            assert_eq!(asked(host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:33034",
            "localhost.evil.example",
            "192.0.2.2",
            "other.example",
            "other.example:80",
            "127.0.0.1@evil.example",
            "evil.example/localhost",
            "[::1]evil",
            "",
        ] {
            assert_eq!(asked(host), 403, "{host}");
        }
        assert_eq!(status(&access, &request(&[("authorization", &bearer)])), 403, "no host");
        let twice = request(&[
            ("host", "localhost"),
            ("host", "evil.example"),
            ("authorization", &bearer),
        ]);
        assert_eq!(status(&access, &twice), 403);
        let mut absolute = request(&[("host", "localhost"), ("authorization", &bearer)]);
        *absolute.uri_mut() = "http://evil.example/".parse().unwrap();
        assert_eq!(status(&access, &absolute), 403);
    }

    #[test]
    fn pages_of_other_origins_do_not_ask_the_private_server() {
        let access = access(Side::Private, &["wallet.example"]);
        let bearer = format!("Bearer {}", access.token.secret());
        let asked = |origin: &str| {
            let headers = [("host", "localhost"), ("origin", origin), ("authorization", &bearer)];
            status(&access, &request(&headers))
        };
        for origin in ["http://localhost:5173", "http://127.0.0.1", "https://wallet.example"] {
            assert_eq!(asked(origin), 200, "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://evil.example",
            "file://",
            "chrome-extension://abcdef",
            "localhost",
        ] {
            assert_eq!(asked(origin), 403, "{origin}");
        }
    }

    #[test]
    fn without_the_token_nothing_is_private() {
        let access = access(Side::Private, &[]);
        let other = format!("Bearer {}", ApiToken::generate().secret());
        let asked = |value: &str| status(&access, &request(&[("host", "localhost"), ("authorization", value)]));
        assert_eq!(status(&access, &request(&[("host", "localhost")])), 401);
        for value in [&other, "Bearer ", "Bearer", "Basic abc", access.token.secret()] {
            assert_eq!(asked(value), 401, "{value}");
        }
        assert_eq!(asked(&format!("bearer {}", access.token.secret())), 200);
    }

    #[test]
    fn the_public_server_asks_for_a_host_only_if_hosts_are_configured() {
        let any = access(Side::Public, &[]);
        let foreign = request(&[("host", "evil.example"), ("origin", "http://evil.example")]);
        assert_eq!(any.check(&foreign, LOCAL.parse().unwrap()), Ok(false));
        let some = access(Side::Public, &["node.example"]);
        assert_eq!(status(&some, &foreign), 403);
        assert_eq!(status(&some, &request(&[("host", "localhost")])), 403);
        let bearer = format!("Bearer {}", some.token.secret());
        let own = request(&[("host", "node.example"), ("authorization", &bearer)]);
        assert_eq!(some.check(&own, LOCAL.parse().unwrap()), Ok(true), "the operator");
    }

    #[test]
    fn only_named_proxies_say_for_whom_they_ask() {
        let access = access(Side::Public, &[]);
        let client = |peer: &str, lines: &[&str]| {
            let headers: Vec<(&str, &str)> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            access
                .client(request(&headers).headers(), peer.parse().unwrap())
                .to_string()
        };
        assert_eq!(client("198.51.100.7", &["203.0.113.9"]), "198.51.100.7", "no proxy");
        assert_eq!(client("127.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("::ffff:127.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(
            client("127.0.0.1", &["1.1.1.1, 203.0.113.9"]),
            "203.0.113.9",
            "the first is invented"
        );
        assert_eq!(client("127.0.0.1", &["1.1.1.1", "203.0.113.9,10.0.0.1"]), "203.0.113.9");
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &["203.0.113.9, unknown"]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_names_no_host_is_not_allowed_as_one() {
        for text in ["", ":80", "a b", "http://a", "a:port", "a:70000", "*", "a@b"] {
            assert_eq!(AllowedHost::parse(text), None, "{text}");
        }
        assert_eq!(AllowedHost::parse("a:*"), AllowedHost::parse("A"));
    }
}
