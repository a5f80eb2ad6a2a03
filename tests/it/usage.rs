//! The command line and the environment.

use crate::harness::{ScriptedServer, Step};
use crate::stand_in::{Setup, StandIn};

#[test]
fn help_and_version_work_in_an_empty_environment() {
    let help = Step::bare().args(&["--help"]).run();
    help.assert_done();
    assert!(help.stdout.starts_with("token-mint: ") && help.stderr.is_empty(), "{help}");
    let version = Step::bare().args(&["-V"]).run();
    version.assert_done();
    assert_eq!(version.stdout, concat!("token-mint ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_sends_nothing_and_names_the_option() {
    let servers = StandIn::start(Setup::default());
    for (args, piece) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--index"], "--index needs a value"),
        (&["--format", "yaml"], "--format: token, env or json"),
        (&["--timeout", "0"], "--timeout: a whole number"),
        (&["--timeout", "3601"], "--timeout"),
        (&["--timeout", "+5"], "--timeout"),
        (&["--timeout", "1.5"], "--timeout"),
        (&["--timeout", "99999999999999999999"], "--timeout"),
        (&["--index", "PyPI"], "--index: pypi, testpypi or the URL"),
        (&["--index", "ftp://127.0.0.1/"], "--index"),
        (&["--index", "https://pypi.org/simple/"], "--index: a URL that ends in /simple/"),
        (&["dist/*"], "argument 1 is neither a command nor an option"),
        (&["twine", "upload", "dist/*"], "put -- before it: token-mint -- twine …"),
        (&["help"], "did you mean --help?"),
        (&["-vq"], "--quiet and --verbose contradict each other"),
        (&["--"], "the command to run is missing"),
        (&["mint"], "without a command, it mints"),
        (&["check", "--", "true"], "check runs no command"),
        (&["--format", "env", "--", "true"], "--format can't be used with -- COMMAND"),
        (&["--keep-identity"], "--keep-identity"),
        (&["--id-token-env", "A=B"], "--id-token-env: the name of an environment variable"),
        (&["burn"], "no API token was given"),
    ] {
        Step::of(&servers).args(args).run_with(&servers).assert_failed(2, &[piece]);
    }
    for (name, value) in [("TOKEN_MINT_INDEX", "nonsense"), ("TOKEN_MINT_FORMAT", "x"), ("TOKEN_MINT_TIMEOUT", "x")] {
        Step::of(&servers).env(name, value).run_with(&servers).assert_failed(2, &[name]);
    }
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
fn in_the_action_a_failure_names_inputs_and_the_page_that_lists_it() {
    let docs = "https://github.com/octo-org/token-mint-action/blob/v0.1.0/docs";
    let step = || Step::on_github().env("TOKEN_MINT_DOCS", docs);
    let outcome = step().env("TOKEN_MINT_INDEX", "testpipy").run();
    outcome
        .assert_failed(2, &["error: `index:` pypi, testpypi or", &format!("{docs}/troubleshooting.md#configuration")]);
    // The macaroon's location is "test.pypi.org".
    let token = "pypi-AgENdGVzdC5weXBpLm9yZwIkMDAw";
    let outcome = step().args(&["burn"]).env("TOKEN_MINT_INDEX", "pypi").env("TOKEN_MINT_API_TOKEN", token).run();
    outcome.assert_failed(2, &["Name the index that minted the token: `index:` testpypi\n"]);
    step().run().assert_failed(3, &[&format!("{docs}/troubleshooting.md#no-identity")]);
    let outside_action = Step::on_github().run();
    assert!(!outside_action.stderr.contains("troubleshooting"), "{outside_action}");
}

#[test]
fn a_url_in_plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let servers = StandIn::start(Setup::default());
    for url in ["http://example.org/", "http://127.0.0.1.example.org/", "http://10.0.0.1/", "http://[::1]/"] {
        Step::of(&servers).args(&["--index", url]).run_with(&servers).assert_failed(2, &["--index", "URL"]);
        Step::of(&servers)
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", url)
            .run_with(&servers)
            .assert_failed(2, &["ACTIONS_ID_TOKEN_REQUEST_URL", "URL"]);
    }
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let servers = StandIn::start(Setup::default());
    for url in ["https://user:hunter2-hunter2@127.0.0.1/", "https:user:hunter2-hunter2@127.0.0.1/"] {
        let step = Step::of(&servers).secret("hunter2-hunter2").args(&["--index", url]);
        step.run_with(&servers).assert_failed(2, &["--index"]);
    }
}

#[test]
fn a_line_break_in_a_url_or_a_request_token_never_reaches_a_request() {
    let servers = StandIn::start(Setup::default());
    let evil = format!("{}\r\nX-Evil: 1", servers.github.url("/idtoken/77?api-version=2.0"));
    Step::of(&servers).env("ACTIONS_ID_TOKEN_REQUEST_URL", &evil).run_with(&servers).assert_failed(2, &["line break"]);
    let step = Step::of(&servers).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret-token\r\nX-Evil: 1");
    step.secret("secret-token").run_with(&servers).assert_failed(2, &["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]);
    assert_eq!(servers.requests(), [""; 0]);
}

#[test]
fn an_error_does_not_repeat_the_value_of_an_unknown_option() {
    let secret = "AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAw";
    for (option, piece) in [
        (format!("-ppypi-{secret}"), "there is no option -p\n"),
        (format!("-p=pypi-{secret}"), "there is no option -p\n"),
        (format!("-qpypi-{secret}"), "there is no option -p\n"),
        (format!("-{secret}"), "there is no option -A\n"),
        (format!("--password=pypi-{secret}"), "there is no option --password\n"),
        (format!("--pypi-{secret}"), "argument 2 is not an option"),
        (format!("--x{}", "y".repeat(200)), "argument 2 is not an option"),
        (format!("pypi-{secret}"), "argument 2 is too many for burn"),
    ] {
        let outcome = Step::bare().args(&["burn", &option]).secret(&secret[2..]).run();
        outcome.assert_failed(2, &[piece]);
    }
}

#[test]
fn minreqs_own_variables_change_nothing() {
    let servers = StandIn::start(Setup::default());
    let unused = ScriptedServer::replying(500, "");
    let mut step = Step::of(&servers).env("MINREQ_TIMEOUT", "0");
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        step = step.env(name, &unused.url());
    }
    step.run_with(&servers).assert_done();
    assert_eq!(unused.requests().len(), 0);
}
