//! Origins, hosts, preflights, and what answers say to browsers.

use super::*;

const HOST: &str = "127.0.0.1:8080";

fn browser(is_open: bool) -> Browser {
    let origins = ["https://app.example.com", "http://localhost:3000"];
    Browser::new(&origins.map(str::to_owned), is_open)
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(path).header("host", HOST);
    for (name, value) in headers {
        if *name == "host" {
            request.headers_mut().unwrap().remove("host");
        }
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The status of what goes no further.
fn refused(browser: &Browser, request: &Request<()>) -> Option<u16> {
    browser.judge(request).1.map(|response| response.status().as_u16())
}

fn dressed(browser: &Browser, request: &Request<()>) -> Response {
    let (visit, answer) = browser.judge(request);
    visit.dress(answer.unwrap_or_default())
}

#[test]
fn an_origin_is_ours_or_listed_to_the_letter() {
    let cases = [
        ("https://app.example.com", None),
        ("http://localhost:3000", None),
        ("http://127.0.0.1:8080", None),
        ("https://127.0.0.1:8080", None),
        ("https://evil.example", Some(403)),
        ("null", Some(403)),
        ("", Some(403)),
        ("*", Some(403)),
        ("file://", Some(403)),
        ("https://app.example.com.evil.net", Some(403)),
        ("https://evil.net/https://app.example.com", Some(403)),
        ("https://evilapp.example.com", Some(403)),
        ("https://sub.app.example.com", Some(403)),
        ("http://app.example.com", Some(403)),
        ("https://app.example.com:8443", Some(403)),
        ("https://app.example.com:443", Some(403)),
        ("HTTPS://APP.EXAMPLE.COM", Some(403)),
        ("https://app.example.com.", Some(403)),
        ("https://app.example.com/", Some(403)),
        ("https://app.example.com https://evil.example", Some(403)),
        ("http://127.0.0.1", Some(403)),
        ("http://127.0.0.1:8081", Some(403)),
        ("http://127.0.0.1:8080.evil.net", Some(403)),
        ("http://evil@127.0.0.1:8080", Some(403)),
        ("chrome-extension://127.0.0.1:8080", Some(403)),
    ];
    for is_open in [true, false] {
        for (origin, expected) in cases {
            for (method, path) in [("GET", "/graphql"), ("POST", "/rpc"), ("GET", "/events"), ("PUT", "/any")]
            {
                let request = request(method, path, &[("origin", origin)]);
                assert_eq!(refused(&browser(is_open), &request), expected, "{origin} {path}");
            }
        }
    }
    assert_eq!(refused(&browser(true), &request("POST", "/graphql", &[])), None, "no browser");
}

#[test]
fn a_page_of_another_site_embeds_nothing_of_ours() {
    let fetch =
        |site, mode, dest| [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
    let cases = [
        ("GET", fetch("cross-site", "no-cors", "image"), Some(403)),
        ("GET", fetch("cross-site", "no-cors", "script"), Some(403)),
        ("GET", fetch("same-site", "no-cors", "image"), Some(403)),
        ("GET", fetch("cross-site", "navigate", "iframe"), Some(403)),
        ("GET", fetch("cross-site", "cors", "empty"), Some(403)),
        ("POST", fetch("cross-site", "navigate", "document"), Some(403)),
        ("GET", fetch("cross-site", "navigate", "document"), None),
        ("GET", fetch("same-origin", "cors", "empty"), None),
        ("GET", fetch("none", "navigate", "document"), None),
    ];
    for (method, headers, expected) in cases {
        let request = request(method, "/events?types=a", &headers);
        assert_eq!(refused(&browser(false), &request), expected, "{method} {headers:?}");
    }
}

#[test]
fn a_name_pointed_at_this_address_is_not_ours_while_everybody_may_do_everything() {
    let cases = [
        ("127.0.0.1:8080", true),
        ("[::1]:8080", true),
        ("localhost", true),
        ("LOCALHOST:8080", true),
        ("events.localhost:8080", true),
        ("app.example.com", true),
        ("evil.example:8080", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example:8080", false),
        ("localhost.", false),
        ("evil.example:[::1]", false),
    ];
    for (host, is_ours) in cases {
        let own = format!("http://{host}");
        for headers in [vec![("host", host)], vec![("host", host), ("origin", &own)]] {
            for path in ["/graphql", "/graphiql", "/events", "/"] {
                let request = request("GET", path, &headers);
                let open = if is_ours { None } else { Some(421) };
                let refused_open = refused(&browser(true), &request);
                assert_eq!(refused_open, open, "{host} {path}");
                let closed = refused(&browser(false), &request);
                assert_eq!(closed, None, "with authentication a name is as good as any: {host} {path}");
            }
        }
        assert_eq!(refused(&browser(true), &request("POST", "/webhooks/github", &[("host", host)])), None);
    }
}

#[test]
fn a_preflight_of_a_listed_origin_is_permitted_and_no_other() {
    let ask = |origin| [("origin", origin), ("access-control-request-method", "POST")];
    let response = dressed(&browser(false), &request("OPTIONS", "/graphql", &ask("https://app.example.com")));
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(response.status(), 204);
    assert_eq!(header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(header("access-control-max-age"), Some("600"));
    assert_eq!(header("vary"), Some("origin"));
    assert_eq!(header("access-control-allow-credentials"), None);
    for needed in ["authorization", "content-type", "last-event-id", "x-graphql-event-stream-token"] {
        assert!(header("access-control-allow-headers").unwrap().contains(needed), "{needed}");
    }
    let response = dressed(&browser(false), &request("OPTIONS", "/graphql", &ask("https://evil.example")));
    assert_eq!(response.status(), 403);
    assert!(response.headers().keys().all(|name| !name.as_str().starts_with("access-control-")));
    assert_eq!(response.headers()["vary"], "origin");
}

#[test]
fn answers_are_read_by_listed_origins_only_and_kept_by_nobody() {
    let cases = [
        (&[("origin", "https://app.example.com")][..], Some("https://app.example.com")),
        (&[("origin", "https://evil.example")], None),
        (&[("origin", "http://127.0.0.1:8080")], None),
        (&[], None),
    ];
    for (headers, expected) in cases {
        for path in ["/graphql", "/graphql/stream", "/events", "/rpc", "/schema.graphql"] {
            let response = dressed(&browser(false), &request("GET", path, headers));
            let found =
                response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{path} {headers:?}");
            assert_eq!(response.headers().contains_key("access-control-expose-headers"), expected.is_some());
            for (name, value) in [
                ("cache-control", "no-store"),
                ("vary", "origin"),
                ("x-content-type-options", "nosniff"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(response.headers()[name], value, "{path}");
            }
        }
    }
}
