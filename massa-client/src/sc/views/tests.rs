//! The views' names, arguments and answers.

use super::*;

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

#[test]
fn names_of_the_plan_become_those_of_the_contract() {
    assert_eq!(camel_case("get_node_info"), "getNodeInfo");
    assert_eq!(camel_case("fund"), "fund");
    assert_eq!(camel_case("getNodeInfo"), "getNodeInfo");
    for view in &VIEWS {
        let sample = view.arguments.iter().map(|name| match *name {
            "CHALLENGE_ID" | "BEACON" => "ab".repeat(32),
            "BLOCK_ID" => "none".to_string(),
            "PROOF" => "00".to_string(),
            "NODE" | "ADDRESS" => "AU12oTkuZgcxV2wiQV7gc92DNXwW6RYP3A59NgnshdEJjCkrYiBc4".to_string(),
            _ => "5".to_string(),
        });
        let asked = AskedView::find(view.name, &sample.collect::<Vec<_>>())
            .unwrap()
            .unwrap();
        assert_eq!(asked.call.function, camel_case(view.name));
    }
}

#[test]
fn a_node_is_named_by_address_or_node_id() {
    let id = "N1joj3WoS3wZkFoy5834BZzjT62kRyQoMi4TJ9jyE1rRp9DbCC6";
    assert!(AskedView::find("getNodeInfo", &words(&[id])).unwrap().is_some());
    assert!(AskedView::find("get_node_info", &words(&["me"])).is_err());
}

#[test]
fn what_is_no_view_and_arguments_that_are_not_its_own_are_told_apart() {
    assert!(AskedView::find("fund", &[]).unwrap().is_none());
    for (name, given) in [
        ("get_node_info", words(&[])),
        ("get_config", words(&["5"])),
        ("get_segment_root", words(&["last"])),
        ("get_challenge", words(&[""])),
        ("get_challenge", words(&[&"x".repeat(129)])),
        ("check_block", words(&["5", "0", "B12", "00"])),
        ("check_block", words(&["5", "256", "none", "00"])),
        ("check_block", words(&["5", "0", "none", "0"])),
    ] {
        assert!(matches!(
            AskedView::find(name, &given),
            Err(NodeCommandError::Argument { .. })
        ));
    }
}

#[test]
fn nothing_where_something_was_asked_for_is_an_error() {
    let asked = AskedView::find("get_segment_root", &words(&["7"])).unwrap().unwrap();
    let error = asked.answer(&[]).unwrap_err().to_string();
    assert_eq!(error, "the registry has no accepted root of segment 7");
    assert!(matches!(asked.answer(&[1, 2]), Err(NodeCommandError::Contract(_))));
}

#[test]
fn answers_are_told_with_units() {
    let asked = AskedView::find(
        "calculate_pending_rewards",
        &words(&["AU12oTkuZgcxV2wiQV7gc92DNXwW6RYP3A59NgnshdEJjCkrYiBc4"]),
    );
    let answer = asked.unwrap().unwrap().answer(&2_000_000_000u64.to_le_bytes()).unwrap();
    assert_eq!(answer.text(), "2 MAS");
    assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"pending_rewards":"2"}"#);
}
