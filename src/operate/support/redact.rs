//! Takes secrets out of texts of any form: configurations, logs, JSON. What is taken out too much is
//! asked for again; what is left in can't be taken back.

mod reason;
mod section;
mod tokens;

use serde_json::Value;

use reason::{is_reason, without_pairs};
use section::{is_below_secret, section};
use tokens::TOKENS;

const REMOVED: &str = "[removed]";

/// A key with one of these in its name has a secret.
const IN_NAMES: [&str; 24] = [
    "password",
    "passwd",
    "passcode",
    "pwd",
    "hmac",
    "psk",
    "connectionstring",
    "accountkey",
    "encryptionkey",
    "hostkey",
    "masterkey",
    "sharedkey",
    "signingkey",
    "sshkey",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "cookie",
    "apikey",
    "accesskey",
    "privatekey",
    "signature",
    "credential",
];
/// These are keys of Docker's and containerd's credentials.
const NAMES: [&str; 9] = [
    "auth", "auths", "header", "headers", "pass", "pin", "pw", "sas", "userinfo",
];
/// A flag whose value is a key, as stream processors have it.
const KEY_FLAG: &str = "--key";
/// Short flags of programs: after these a password comes, and after those a user with one.
const SHORT: [&str; 2] = ["-p", KEY_FLAG];
const USERS: [&str; 4] = ["-u", "-U", "--user", "--proxy-user"];
/// Words after which a secret comes, in a header.
const SCHEMES: [&str; 4] = ["bearer", "basic", "apikey", "negotiate"];
/// Shorter words that begin so are words.
const LEAST_TOKEN: usize = 16;

/// What ends a value of several lines.
#[derive(Clone, Copy)]
enum Until {
    Text(&'static str),
    /// So many of the second sign, less those of the first.
    Closed(char, char, usize),
    /// A line that is indented no deeper than this, as YAML ends a block.
    Shallower(usize),
}

fn goes_on(until: Until, line: &str) -> Option<Until> {
    match until {
        Until::Text(end) => (!line.contains(end)).then_some(until),
        Until::Closed(open, close, depth) => {
            let count = |sign| line.chars().filter(|other| *other == sign).count();
            let depth = (depth + count(open)).saturating_sub(count(close));
            (depth > 0).then_some(Until::Closed(open, close, depth))
        }
        Until::Shallower(indent) => {
            let here = indent_of(line, &[' ', '\t', '#']);
            let is_item =
                here == indent && line.get(here..).is_some_and(|rest| rest.starts_with('-'));
            (line.trim().is_empty() || here > indent || is_item).then_some(until)
        }
    }
}

fn indent_of(line: &str, signs: &[char]) -> usize {
    line.len() - line.trim_start_matches(signs).len()
}

/// The text without secrets, line by line.
pub(super) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut until = None;
    // Whether this is a section whose values are all secret.
    let mut is_secret_section = false;
    for line in text.lines() {
        // A private key, or a value of several lines, goes to its end.
        if let Some(end) = until {
            until = goes_on(end, line);
            if until.is_some() || !matches!(end, Until::Shallower(_)) {
                continue;
            }
        }
        let section = section(line);
        is_secret_section = section.unwrap_or(is_secret_section);
        let is_value = is_secret_section && section.is_none() && !line.trim().is_empty();
        if is_value && !line.contains([':', '=']) {
            out.push_str(REMOVED);
            out.push('\n');
            continue;
        }
        if let Some(document) = document(line) {
            out.push_str(&document);
            out.push('\n');
            continue;
        }
        if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY") {
            out.push_str("[a private key, removed]\n");
            if !line.contains("-----END ") {
                until = Some(Until::Text("-----END "));
            }
            continue;
        }
        let (line, opens) = line_of(line, is_value);
        until = opens;
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// A line that is a whole JSON document, without secrets, and still one; none: it is no such line.
fn document(line: &str) -> Option<String> {
    let begins = line.trim_start().starts_with(['{', '[']);
    let before: Value = begins.then(|| serde_json::from_str(line).ok()).flatten()?;
    let mut after = before.clone();
    clean(&mut after);
    // One without secrets keeps its order and blanks.
    Some(if after == before {
        line.to_owned()
    } else {
        after.to_string()
    })
}

fn clean(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            let clean = redacted(text);
            let end = if text.ends_with('\n') { "" } else { "\n" };
            let clean = clean.strip_suffix(end).unwrap_or(&clean);
            if clean != text.as_str() {
                clean.clone_into(text);
            }
        }
        Value::Array(all) => {
            let mut before = String::new();
            for value in all {
                let now = value.as_str().unwrap_or_default().to_owned();
                if comes_after(&before, &now) {
                    *value = REMOVED.into();
                } else {
                    clean(value);
                }
                before = now;
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if let (true, Value::String(text)) = (is_reason(name), &mut *value) {
                    *text = without_pairs(text);
                }
                if is_secret(name) {
                    *value = REMOVED.into();
                } else {
                    clean(value);
                }
            }
        }
    }
}

/// One line, and what ends a value that goes on in the next ones. `is_value`: its value is secret
/// whatever its key is.
fn line_of(line: &str, is_value: bool) -> (String, Option<Until>) {
    let mut kept = String::new();
    let mut rest = line;
    // `rest` begins after the separator of a key that was looked at.
    while let Some(at) = rest.find([':', '=']) {
        let (before, after) = rest.split_at(at);
        let after = after.get(1..).unwrap_or_default();
        kept.push_str(before);
        kept.push_str(rest.get(at..=at).unwrap_or_default());
        let is_first = rest.len() == line.len();
        let is_hidden =
            is_value || is_first && is_below_secret(before) || is_secret(key_of(before));
        if !is_hidden && is_reason(key_of(before)) {
            let (next, opens) = after_value(after.trim_start());
            if opens.is_some() {
                kept.push_str(REMOVED);
                return (words(&kept), opens);
            }
            let (reason, next) = after.split_at(after.len() - next.len());
            // Keys that are secret everywhere are so in it, too.
            kept.push_str(&line_of(&without_pairs(reason), false).0);
            // A comment behind it is no key's.
            rest = if next.trim_start().starts_with('#') {
                ""
            } else {
                next
            };
            continue;
        }
        if !is_hidden {
            rest = after;
            continue;
        }
        let value = after.trim_start();
        if kept.ends_with(':') && (value.is_empty() || value.starts_with(['|', '>', '&', '!', '#']))
        {
            kept.push_str(REMOVED);
            let indent = indent_of(line, &[' ', '\t', '#', '-']);
            return (words(&kept), Some(Until::Shallower(indent)));
        }
        kept.push_str(after.get(..after.len() - value.len()).unwrap_or_default());
        if let Some(tail) = in_string(&kept).then(|| closing(value)).flatten() {
            kept.push_str(REMOVED);
            kept.push_str(tail);
            return (words(&kept), None);
        }
        // So that a configuration stays one.
        let quote = match value.chars().next() {
            Some('"' | '{' | '[') => "\"",
            Some('\'') => "'",
            _ => "",
        };
        kept.extend([quote, REMOVED, quote]);
        let (more, opens) = after_value(value);
        if opens.is_some() {
            return (words(&kept), opens);
        }
        rest = more;
    }
    kept.push_str(rest);
    (words(&kept), None)
}

/// Whether a string of double quotes is open at the end of it.
fn in_string(before: &str) -> bool {
    let (mut open, mut escaped) = (false, false);
    for sign in before.chars() {
        match sign {
            '"' if !escaped => open = !open,
            '\\' => {
                escaped = !escaped;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    open
}

/// The quote that ends a line, with what closes lists and tables after it.
fn closing(value: &str) -> Option<&str> {
    let inner = value.trim_end_matches(|sign: char| " \t,]}".contains(sign));
    let text = inner.strip_suffix('"')?;
    value.get(text.len()..)
}

/// The key that ends before a separator.
fn key_of(before: &str) -> &str {
    let key = before.trim_end().trim_end_matches(['"', '\'', '\\', ']']);
    let begins = |sign: char| !(sign.is_ascii_alphanumeric() || "-_.".contains(sign));
    key.rsplit(begins).next().unwrap_or_default()
}

fn is_secret(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|sign| sign.to_ascii_lowercase())
        .collect();
    let last = key
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    // A folder, a time or a program is not what it leads to.
    let is_place = [
        "file", "path", "dir", "timeout", "helper", "helpers", "provider", "store",
    ]
    .iter()
    .any(|end| plain.ends_with(end));
    // A header of one's own is a registry's key more often than not, and a proxy has a password.
    let is_own = last.starts_with("x-") || last.ends_with("proxy");
    is_own
        || key == KEY_FLAG
        || NAMES.contains(&last.as_str())
        || IN_NAMES.iter().any(|word| plain.contains(word)) && !is_place
}

/// What follows a value on its line, and what ends it where that is in a later one.
fn after_value(value: &str) -> (&str, Option<Until>) {
    let value = value.trim_start_matches('\\');
    for quote in ["\"\"\"", "'''"] {
        if let Some(inner) = value.strip_prefix(quote) {
            let ends = inner.split_once(quote);
            return ends.map_or(("", Some(Until::Text(quote))), |(_, rest)| (rest, None));
        }
    }
    let closing = |open: char| match open {
        '{' => Some('}'),
        '[' => Some(']'),
        _ => None,
    };
    if let Some((open, close)) = value
        .chars()
        .next()
        .and_then(|open| Some((open, closing(open)?)))
    {
        let mut depth = 0_usize;
        for (at, sign) in value.char_indices() {
            if sign == open {
                depth += 1;
            } else if sign == close {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return (value.get(at + 1..).unwrap_or_default(), None);
                }
            }
        }
        return ("", Some(Until::Closed(open, close, depth)));
    }
    let quote = value
        .chars()
        .next()
        .filter(|first| ['"', '\''].contains(first));
    let Some(quote) = quote else {
        // Without quotes, it may have blanks in it: a header, a shell's variable.
        return ("", None);
    };
    let mut escaped = false;
    for (at, sign) in value.char_indices().skip(1) {
        match sign {
            '\\' if !escaped => escaped = true,
            _ if sign == quote && !escaped => {
                return (value.get(at + 1..).unwrap_or_default(), None);
            }
            _ => escaped = false,
        }
    }
    ("", None)
}

/// Words that are secrets wherever they stand: user and password in an address, what follows
/// `Bearer` or `Basic`, tokens of well-known services.
fn words(line: &str) -> String {
    let line = &without_odd_userinfo(line);
    let ends = |sign: char| sign.is_whitespace() || "\"'`,;<>|(){}".contains(sign);
    let mut out = String::with_capacity(line.len());
    let (mut before, mut before_that) = ("", "");
    for piece in line.split_inclusive(ends) {
        let word = piece.trim_end_matches(ends);
        let tail = piece.get(word.len()..).unwrap_or_default();
        let is_token = word.len() >= LEAST_TOKEN
            && TOKENS.iter().any(|begin| {
                word.split(['=', ':', '/'])
                    .any(|part| part.starts_with(begin))
            });
        let is_said = ["is", "was"].contains(&before) && names_secret(before_that);
        if !word.is_empty() && (is_token || is_said || comes_after(before, word)) {
            out.push_str(REMOVED);
        } else {
            out.push_str(&without_userinfo(word));
        }
        if !word.is_empty() {
            (before_that, before) = (before, word);
        }
        out.push_str(tail);
    }
    out
}

/// Whether a word of a sentence names a secret, as in `the password is X`.
fn names_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    [
        "pw",
        "pwd",
        "pass",
        "passwd",
        "password",
        "passphrase",
        "passcode",
    ]
    .contains(&word.as_str())
}

/// Whether a word is a secret by the one before it: a scheme, or a program's flag.
fn comes_after(before: &str, word: &str) -> bool {
    let is_scheme = SCHEMES
        .iter()
        .any(|scheme| before.eq_ignore_ascii_case(scheme));
    let is_flag = before.starts_with('-') && !word.starts_with('-');
    is_scheme
        || is_flag
            && (SHORT.contains(&before)
                || is_secret(before.trim_start_matches('-'))
                || USERS.contains(&before) && word.contains(':'))
}

/// Takes out a password with signs in it that end a word or an authority elsewhere: all before the
/// last `@` of what has no blank and no quote, where what is before the first such sign is no host
/// with a port.
fn without_odd_userinfo(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after
            .find(|sign: char| sign.is_whitespace() || sign == '"')
            .unwrap_or(after.len());
        let (address, more) = after.split_at(end);
        let first = address.split(['/', '?', '#']).next().unwrap_or_default();
        let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
        let is_host = first.rsplit_once(':').is_none_or(|(_, port)| is_port(port));
        match address.rsplit_once('@') {
            Some((_, host)) if !is_host || first.contains('@') && !host.contains('/') => {
                out.push_str(REMOVED);
                out.push('@');
                out.push_str(host);
            }
            _ => out.push_str(address),
        }
        rest = more;
    }
    out.push_str(rest);
    out
}

fn without_userinfo(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return without_bare_userinfo(word);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A query may have a signature or a token in it.
    let path = path
        .split_once('?')
        .map_or(path.to_owned(), |(path, _)| format!("{path}?{REMOVED}"));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REMOVED}@{host}{path}"),
        None => format!("{scheme}://{authority}{path}"),
    }
}

/// The same where no scheme stands before it: `user:password@host`. An image with tag and digest
/// looks like that, too.
fn without_bare_userinfo(word: &str) -> String {
    let bare = word.trim_start_matches('/');
    let slashes = word.get(..word.len() - bare.len()).unwrap_or_default();
    match (bare.split_once(':'), bare.rsplit_once('@')) {
        (Some((user, rest)), Some((_, host)))
            if rest.contains('@')
                && !user.contains(['/', '@'])
                && !["sha256:", "sha384:", "sha512:"]
                    .iter()
                    .any(|algorithm| host.starts_with(algorithm)) =>
        {
            format!("{slashes}{REMOVED}@{host}")
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2hunter2";

    #[test]
    fn no_secret_is_left_wherever_it_stands() {
        for text in [
            "password = \"§\"",
            "reason = \"rotate, key=§\"",
            "reason = 'the old one was x=§; see INC-1'",
            "reason = \"\"\"\nkey=§\n\"\"\"",
            "{\"time\":1,\"reason\":\"down, key=§\"}",
            "  \"reason\": \"down, key=§\",",
            "exempt = { reason = \"a=§ b=§\", until = 2027-01-31T00:00:00Z }",
            "  identitytoken='§'",
            "auth = \"§\"",
            "auth = { username = \"u\", password = \"§\" }",
            "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r.example\".auth]\n  password = \"§\"",
            "{\"auths\":{\"r.example\":{\"auth\":\"§\"}},\"proxies\":{}}",
            "{\"auths\": {\n  \"r.example\": {\n \"x\": \"§\"\n},\n  \"b\": {\n \"x\": \"§\"}\n}}",
            "{\"password\":\"a\\\"§\",\"name\":\"kept\"}",
            "authorization = \"Basic §\"",
            "header = [\"Authorization: Bearer §\"]",
            "x-registry-token: §",
            "HTTPS_PROXY=http://user:§@proxy.example:3128",
            "fetching https://u:§@r.example/v2/ failed",
            "X-JFrog-Art-Api = [\"§\"]",
            "[plugins.\"io.containerd.grpc.v1.cri\".registry.headers]\n  X-Api-Auth = [\"§\"]",
            "[plugins.\"io.containerd.grpc.v1.cri\".registry.headers]\n  Api = ['§']",
            "[host.'https://r.example'.header] # theirs\n  a = [\n    '§',\n  ]\n  b = '§'",
            "[registry.headers] # see [x]\nApi = '§'",
            "[ registry . headers . 'a]' ]\nApi = '§'",
            "[[registry.headers.more]]\nApi = '§'",
            "[registry.auths.'r.example']\nx = '§'",
            "# [registry.headers]\n#   Api = ['§']",
            "[registry.headers]\n# [a]\nApi = ['§']",
            "[registry.headers]\nApi = ['x',\n'§']\n§",
            "registry.headers.\"Api\" = ['§']",
            "headers.Api = '§'",
            "headers:\n  Api: §\n  other:\n    - §",
            "a:\n  - headers:\n      Api: §\n",
            "headers:\n- §",
            "password: |\n  §\n\n  §",
            "# headers:\n#   Api: §",
            "\"http-proxy\": \"http://user:p,§@proxy:3128\"",
            "\"https-proxy\": \"http://user:pa#§@proxy:3128\"",
            "\"http-proxy\": \"user:§@proxy:3128\"",
            "mirror = \"http://user:p,§@proxy:3128\"",
            "mirror at http://user:pa#§@proxy:3128/ failed",
            "mirror at http://user:pa/§@proxy:3128 failed",
            "headers = { Api = \"§\" }",
            "GET https://r.example/blob?X-Amz-Signature=§&x=1",
            "token = \"\"\"\n§\n\"\"\"\nkept = 1",
            "# old: client_secret = \"§\"",
            "-----BEGIN EC PRIVATE KEY-----\n§\n-----END EC PRIVATE KEY-----",
            "it said Bearer §, and more",
            "aws eyJ§.eyJ§.§",
            "--password=§ --user=u",
            "args = [\"--key=§\", \"--x\"]",
            "args = [\"--key\", \"§\"]",
            "PASSWORD: § with blanks §",
            "api_key: \"§\", access-key: '§'",
            "# mysql --password § -h db",
            "# docker login -u admin -p § r.example",
            "login --token § --pass §",
            "curl -u admin:§ https://r.example/v2/",
            "curl --user admin:§ -fsS",
            "curl -U 'proxy:§' x",
            "pwd=§",
            "Pwd=§;Uid=sa",
            "SERVER_PWD: §",
            "mirror //user:§@r.example/v2/",
            "mirror user:§@r.example",
            "user:p@ss§@r.example:5000/x",
            "hmac_key = \"§\"",
            "signing-key: §",
            "pass: §",
            "AccountKey=§;EndpointSuffix=core",
            "Authorization: ApiKey §",
            "# admin pw: §",
            "# the admin's pw is § now",
            "the password was §",
            "{\"reason\":\"password: §\",\"name\":\"kept\"}",
            "{\"told\":\"{\\\"auth\\\":\\\"§\\\",\\\"x\\\":1}\",\"name\":\"kept\"}",
            "{\"args\":[\"login\",\"--password\",\"§\"],\"auths\":{\"a\":{\"b\":\"§\"}},\"pin\":1}",
            "reason = \"the password: §\"",
            "[registry.headers]\ndescription = \"§\"",
            "[registry.headers]\n# reason: §",
            "[r.'a'.auth]\nregistry-note = '§' # it",
            "[registry.headers]\na = 1\ncomment = \"\"\"\n§\n\"\"\"",
            "headers.reason = \"§\"",
            "token-note = \"§\"",
            "password_comment: §",
            "a = { secret-reason = \"§\" }",
            "  \"auth-token-description\": \"§\",",
            "reason = \"it said token=§\" # for now §",
        ] {
            let planted = text.replace('§', SECRET);
            let clean = redacted(&planted);
            assert!(!clean.contains(SECRET), "{planted}\n{clean}");
        }
    }

    #[test]
    fn a_secret_section_or_block_ends_where_its_form_ends_it() {
        for (text, wanted) in [
            (
                "[registry.headers]\nApi = 'x'\n[other] # y\nname = 'kept'\n",
                "[registry.headers]\nApi = '[removed]'\n[other] # y\nname = 'kept'\n",
            ),
            (
                "a:\n  - headers:\n      Api: x\n  - name: kept\nb: kept\n",
                "a:\n  - headers:[removed]\n  - name: kept\nb: kept\n",
            ),
            (
                "[credentials]\nkubelet-config = '/etc/x'\n",
                "[credentials]\nkubelet-config = '/etc/x'\n",
            ),
        ] {
            assert_eq!(redacted(text), wanted);
        }
    }

    #[test]
    fn what_was_a_document_is_one_without_its_secrets_too() {
        for text in [
            "{\"version\":1,\"reason\":\"password: §\",\"name\":\"kept\"}",
            "{\"password\":\"§\",\"name\":\"kept\"}",
            "{\"auths\":{\"r.example\":{\"x\":\"§\"}},\"name\":\"kept\"}",
            "{\"told\":\"{\\\"auth\\\":\\\"§\\\"}\",\"name\":\"kept\"}",
            "{\"told\":\"a\\nsecret = §\\nb\",\"name\":\"kept\"}",
            "{\"told\":\"-----BEGIN PRIVATE KEY-----\\n§\\n-----END PRIVATE KEY-----\",\"name\":\"kept\"}",
        ] {
            let clean = redacted(&text.replace('§', "S3cr3t"));
            let value: Value = serde_json::from_str(&clean).unwrap();
            assert!(
                value["name"] == "kept" && !clean.contains("S3cr3t"),
                "{clean}"
            );
        }
        for text in [
            "reason = \"password: §\"",
            "list = [\"a\", \"token=§\"]",
            "one = { password = \"§\", name = \"kept\" }",
            "password = '§'",
        ] {
            let clean = redacted(&text.replace('§', "S3cr3t"));
            assert!(
                clean.parse::<toml::Table>().is_ok() && !clean.contains("S3cr3t"),
                "{clean}"
            );
        }
    }

    #[test]
    fn a_token_of_a_known_service_is_taken_out_wherever_it_stands() {
        for begin in TOKENS {
            let token = format!("{begin}0123456789abcdefghij");
            for text in [
                "# §",
                "x=§",
                "set §, then",
                "https://r.example/§/x",
                "\"§\"",
            ] {
                let clean = redacted(&text.replace('§', &token));
                assert!(!clean.contains(&token), "{clean}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_left() {
        for text in [
            "[[docker]]\nname = \"docker\"\nauthz = \"/run/rootpin/docker.authz.sock\"\n",
            "credential-helper-timeout = \"10s\"\nauth-file = \"/etc/auth.json\"\n",
            "keys = [\"d0c623c8\"]\nserver = \"https://notary.example\"\n",
            "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n",
            "{\"outcome\":\"refused\",\"name\":\"r.example/a:1\",\"digest\":\"sha256:00\"}\n",
            "metadata = [\"oci://registry.example/team/trust\"]\n",
            "r.example:5000/team/app:v1@sha256:00 and app:v1@sha256:00\n",
            "git@github.example:team/app, 127.0.0.1:505, sk-8s\n",
            "containerd -u root --config /etc/containerd/config.toml\n",
        ] {
            assert_eq!(redacted(text), text);
        }
        let both = redacted("{\"password\":\"x\",\"name\":\"kept\"}");
        assert_eq!(both, "{\"name\":\"kept\",\"password\":\"[removed]\"}\n");
    }

    #[test]
    fn a_reason_keeps_its_words_and_what_follows_it() {
        let line = "{ reason = \"INC-1: key=x, see a\", until = 2027-01-31T00:00:00Z, n = 1 }";
        assert_eq!(
            redacted(line),
            "{ reason = \"INC-1: key=[removed], see a\", until = 2027-01-31T00:00:00Z, n = 1 }\n"
        );
        let json = "{\"reason\":\"no root signed r.example/a:1\",\"a\":\"b=c\"}";
        assert_eq!(redacted(json), format!("{json}\n"));
    }
}
