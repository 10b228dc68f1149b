//! What proxies answer: any split ends alike, and takes as many octets; nothing is asked for once it has ended.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::base::{HostPort, Proxy};
use postern::wire::tunnel::connect::MOST_HEAD_OCTETS;
use postern::wire::tunnel::{Request, Step};

fn play(proxy: &Proxy, answer: &[u8], step: usize) -> (usize, String) {
    let host = HostPort { host: "outlook.office365.com".to_owned(), port: 993 };
    let mut request = Request::new(proxy, &host);
    let mut rest = answer;
    loop {
        let end = match request.step() {
            Step::Send(_) => continue,
            Step::Read if rest.is_empty() => "reading".to_owned(),
            Step::Read => {
                let taken = request.take(rest.get(..step).unwrap_or(rest));
                assert!(taken > 0);
                rest = rest.get(taken..).expect("no more is taken than was there");
                continue;
            }
            end => {
                assert_eq!(request.take(rest), 0);
                format!("{end:?}")
            }
        };
        let taken = answer.len() - rest.len();
        assert!(taken <= MOST_HEAD_OCTETS);
        return (taken, end);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let address = match choice & 3 {
        0 => "http://proxy",
        1 => "http://a:b@proxy",
        2 => "socks5://proxy",
        _ => "socks5://a:b@proxy",
    };
    let proxy = Proxy::parse(address).expect("an address that is one");
    assert_eq!(play(&proxy, rest, usize::MAX), play(&proxy, rest, usize::from(choice >> 2) + 1));
    if let Ok(text) = std::str::from_utf8(rest)
        && let Ok(proxy) = Proxy::parse(text)
    {
        assert!(Proxy::parse(proxy.url().expose()).is_ok());
    }
});
