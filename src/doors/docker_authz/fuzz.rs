//! What dockerd sends to the plugin, changed.

use super::{action, create, request, target};
use crate::fuzzing::try_reader;

const REQUEST: &[u8] = br#"{"RequestMethod":"POST","RequestURI":"/v1.47/containers/create?name=a","RequestBody":"eyJJbWFnZSI6ImFwcDp2MSJ9","RequestHeaders":{"Content-Type":"application/json"}}"#;
const URIS: [&[u8]; 4] = [
    b"/v1.47/images/create?fromImage=r.test%2Fteam%2Fapp&tag=v1&platform=",
    b"/containers/create?name=a",
    b"/v1.24/images/r.test/team/app/push?tag=v1",
    b"/v1.47/containers/a/start?checkpoint=c",
];
const BODY: &[u8] = br#"{"Image":"app:v1","HostConfig":{"Mounts":[{"Type":"image","Source":"b:1","Target":"/b"}],"Binds":["/a:/b"]},"image":"other"}"#;

#[test]
fn no_message_of_dockerd_makes_the_plugin_panic() {
    try_reader("authz-request", &[REQUEST], |bytes| {
        if let Ok(request) = request::read(bytes) {
            let _ = (action::read(&request), request.shown());
        }
    });
}

#[test]
fn no_uri_of_a_call_makes_the_plugin_panic() {
    try_reader("authz-uri", &URIS, |bytes| {
        let uri = String::from_utf8_lossy(bytes);
        let _ = target::read(&uri);
        let headers = [("Content-Type", "application/json")];
        for method in ["POST", "GET"] {
            let _ = action::read(&request::of(method, &uri, &headers, r#"{"Image":"a"}"#));
        }
    });
}

#[test]
fn no_body_of_a_new_container_makes_the_plugin_panic() {
    try_reader("authz-create", &[BODY], |bytes| {
        let _ = create::read(bytes);
    });
}
