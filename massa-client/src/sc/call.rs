//! `massa-cli sc call`.

use super::typed;
use super::views::{camel_case, AskedView};
use super::{ContractName, RegistryArguments};
use crate::contract::{self, event_lines, ContractCall, SendingArguments};
use crate::node::{Node, NodeCommandError};
use crate::operation::Signer;
use crate::output::{name_value_lines, unbroken, Output, Report};
use clap::Args;
use massa_models::address::Address;
use massa_models::amount::Amount;
use serde::Serialize;
use std::path::Path;

/// Arguments of `sc call`.
#[derive(Debug, Args)]
pub struct CallArguments {
    /// The contract: storage_registry, or an address AS…
    pub contract: ContractName,
    /// The function.
    pub function: String,
    /// Of a view of the registry its arguments, of any other function words like u64:5.
    pub arguments: Vec<String>,
    /// The whole parameter, as hexadecimal digits.
    #[arg(long, value_name = "HEX", conflicts_with = "arguments", value_parser = parse_parameter)]
    pub param_hex: Option<Parameter>,
    /// Sign the call and send it; otherwise it is only tried, and nothing changes.
    #[arg(long, requires = "from")]
    pub send: bool,
    /// Who calls; to send, the wallet must have its key.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<Address>,
    /// Coins that go with the call.
    #[arg(long, value_name = "MAS", requires = "from")]
    pub coins: Option<Amount>,
    /// What it may cost and take.
    #[command(flatten)]
    pub sending: SendingArguments,
    /// Where the registry is.
    #[command(flatten)]
    pub registry: RegistryArguments,
}

/// A parameter as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter(pub Vec<u8>);

pub(super) fn parse_parameter(text: &str) -> Result<Parameter, String> {
    typed::bytes(text).map(Parameter)
}

/// What a call that changed nothing gave.
#[derive(Clone, Debug, Serialize)]
pub struct CallReport {
    /// The contract.
    pub contract: Address,
    /// The function.
    pub function: String,
    /// What it returned: hexadecimal digits.
    pub returned: String,
    /// Gas that it used.
    pub gas: u64,
    /// What contracts said.
    pub events: Vec<String>,
}

impl Report for CallReport {
    fn text(&self) -> String {
        let mut lines = vec![
            ("contract", self.contract.to_string()),
            ("function", self.function.clone()),
            ("returned", returned_text(&self.returned)),
            ("gas", format!("{}; nothing was changed", self.gas)),
        ];
        lines.extend(event_lines(&self.events));
        name_value_lines(lines)
    }
}

/// Hexadecimal digits, and what they say if they are a text.
fn returned_text(digits: &str) -> String {
    if digits.is_empty() {
        return "nothing".to_string();
    }
    let text = hex::decode(digits).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.filter(|text| !text.chars().any(char::is_control));
    text.map_or_else(
        || digits.to_string(),
        |text| format!("{digits} ({:?})", unbroken(&text)),
    )
}

pub(super) fn run(
    arguments: &CallArguments,
    node: &Node,
    wallet: &Path,
    output: Output,
) -> Result<(), NodeCommandError> {
    let view = view(arguments)?;
    let contract = match arguments.contract {
        ContractName::Registry => arguments.registry.find(node)?,
        ContractName::Address(address) => address,
    };
    let call = match &view {
        Some(view) => ContractCall {
            contract,
            function: view.call.function.to_string(),
            parameter: view.call.parameter.clone(),
            coins: Amount::zero(),
        },
        None => plain_call(arguments, contract)?,
    };
    if arguments.send {
        let from = arguments.from.expect("--send needs --from");
        let signer = Signer::new(node, wallet, from)?;
        let did = format!("called {}", call.function);
        return Ok(output.print(&contract::execute_call(&signer, &call, arguments.sending, did)?)?);
    }
    let result = contract::read(node, &call, arguments.from, arguments.sending.max_gas)?;
    match view {
        Some(view) => Ok(output.print(&view.answer(&result.returned)?)?),
        None => Ok(output.print(&CallReport {
            contract,
            function: call.function,
            returned: hex::encode(result.returned),
            gas: result.gas,
            events: result.events,
        })?),
    }
}

/// The registry's view that is asked for. A parameter as it is asks for bytes as they are.
fn view(arguments: &CallArguments) -> Result<Option<AskedView>, NodeCommandError> {
    if arguments.contract != ContractName::Registry || arguments.param_hex.is_some() || arguments.send {
        return Ok(None);
    }
    AskedView::find(&arguments.function, &arguments.arguments)
}

fn plain_call(arguments: &CallArguments, contract: Address) -> Result<ContractCall, NodeCommandError> {
    let parameter = match &arguments.param_hex {
        Some(Parameter(bytes)) => bytes.clone(),
        None => typed::parameter(&arguments.arguments)?,
    };
    let function = match arguments.contract {
        ContractName::Registry => camel_case(&arguments.function),
        // Another contract may have underscores in its names.
        ContractName::Address(_) => arguments.function.clone(),
    };
    Ok(ContractCall {
        contract,
        function,
        parameter,
        coins: arguments.coins.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_bytes_are_told_as_text_where_they_are_one() {
        assert_eq!(returned_text(""), "nothing");
        assert_eq!(returned_text("6869"), "6869 (\"hi\")");
        assert_eq!(returned_text("00ff"), "00ff");
        assert_eq!(returned_text("1b5b"), "1b5b");
    }
}
