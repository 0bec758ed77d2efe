//! Addresses that anybody's URL may lead to: those of the public Internet. A peer that
//! names one of another kind would have this node ask for it, inside its own network.
//!
//! Not seen: a network that uses public addresses inside, or a NAT64 prefix of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Resolves names to public addresses only.
#[derive(Debug)]
pub(super) struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|addr| is_public(addr.ip())).collect();
            if public.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether the host is a name, which is still to be resolved, or a public address.
pub(super) fn may_be_public(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(_)) => true,
        Some(Host::Ipv4(ip)) => is_public(ip.into()),
        Some(Host::Ipv6(ip)) => is_public(ip.into()),
        None => false,
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// Where a virtual machine of Azure reaches its host, as others do at 169.254.169.254: public
/// by its number alone (learn.microsoft.com, "What is IP address 168.63.129.16?").
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// By the special-purpose registry of IANA (RFC 6890).
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match (a, b) {
        // this network; reserved and broadcast
        (0, _) | (240.., _) => true,
        // shared with carriers; benchmarks
        (100, 64..=127) | (198, 18 | 19) => true,
        // protocol assignments; 6to4 relays
        (192, 0) => c == 0,
        (192, 88) => c == 99,
        _ => false,
    };
    let local = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip == AZURE_HOST;
    !(special || local || ip.is_documentation() || ip.is_multicast())
}

/// Global unicast (2000::/3), but for what leads to IPv4 or is for examples; and what every
/// name of IPv4 becomes where there is IPv6 alone (RFC 6052), by the address that it leads to.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Teredo and other protocol assignments; documentation; 6to4
        [0x2001, ..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x2002, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::{PublicNames, is_public, may_be_public};
    use reqwest::dns::Resolve as _;
    use url::Url;

    #[test]
    fn what_is_not_of_the_public_internet_is_not_public() {
        let inside = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.9.9",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2002:a00:1::1",
            "2001:db8::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::101:101",
            "168.63.129.16",
        ];
        for ip in inside {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[tokio::test]
    async fn a_name_counts_by_what_it_leads_to() {
        for (url, may) in [
            ("http://127.0.0.1/1.ts", false),
            ("http://0x7f.1/1.ts", false),
            ("http://[::1]/1.ts", false),
            ("http://1.1.1.1/1.ts", true),
            ("http://localhost/1.ts", true),
        ] {
            assert_eq!(may_be_public(&Url::parse(url).unwrap()), may, "{url}");
        }
        let resolved = PublicNames.resolve("localhost".parse().unwrap()).await;
        assert!(resolved.is_err());
    }
}
