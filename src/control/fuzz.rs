//! What is asked over the control socket, changed.

use prost::Message as _;

use super::asked;
use super::wire::survey_request::Image;
use super::wire::{DecideRequest, SurveyRequest};
use crate::fuzzing::try_reader;
use rootpin_trust::image::ImageRef;

#[test]
fn no_question_on_the_control_socket_makes_the_daemon_panic() {
    let digest = "sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea";
    let survey = SurveyRequest {
        images: vec![Image {
            name: "r.example/app:v1".to_owned(),
            digest: digest.to_owned(),
            parts: vec![digest.to_owned()],
        }],
        repositories: vec!["r.example/app".to_owned()],
        roots: true,
        online: false,
    };
    assert!(asked(&survey).is_ok());
    let decide = DecideRequest {
        door: "verify".to_owned(),
        name: "r.example/app:v1".to_owned(),
        digest: digest.to_owned(),
        anew: true,
    };
    let examples = [survey.encode_to_vec(), decide.encode_to_vec()];
    let examples = examples.each_ref().map(Vec::as_slice);
    try_reader("control", &examples, |bytes| {
        let _ = SurveyRequest::decode(bytes).map(|request| asked(&request));
        let _ = DecideRequest::decode(bytes).map(|request| request.name.parse::<ImageRef>());
    });
}
