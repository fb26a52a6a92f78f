//! Instance types: EC2's names and sizes, and the operator's own.

use awan_state::{Home, Public};
use serde::{Deserialize, Serialize};

use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    pub home: Home,
    /// `t3.micro`
    pub id: String,
    pub vcpus: u32,
    pub threads_per_core: u32,
    pub memory_mib: u64,
    pub burstable: bool,
    pub max_interfaces: u32,
    pub addresses_per_interface: u32,
    /// As EC2 words it.
    pub network_performance: String,
    pub baseline_mbps: u32,
    pub clock_mhz: u32,
    pub free_tier: bool,
    pub local_disk_gib: u32,
}
record!(
    InstanceType,
    "instance-type",
    String,
    Operator,
    "InvalidInstanceType",
    "The instance type '{}' does not exist"
);

impl Public for InstanceType {}

impl InstanceType {
    pub fn family(&self) -> &str {
        self.id.split_once('.').map_or(&*self.id, |(family, _)| family)
    }

    /// The most that it sends, and the most that it receives: what the words say. EC2's words for T2 give no figure; it is
    /// the one of `PeakBandwidthInGbps` ("Find an Amazon EC2 instance type", EC2 documentation). Other words limit nothing.
    pub fn peak_mbps(&self) -> Option<u32> {
        let words: Vec<_> = self.network_performance.split(' ').collect();
        match words.as_slice() {
            [.., number, "Gigabit"] => number.parse::<u32>().ok()?.checked_mul(1_000),
            ["Low", "to", "Moderate"] => Some(1_024),
            _ => None,
        }
    }
}

/// `family`, threads per core, clock in MHz, burstable; then size, vCPU, MiB, interfaces, addresses, network, Mbit/s.
type Size = (&'static str, u32, u64, u32, u32, &'static str, u32);

const T3: &[Size] = &[
    ("nano", 2, 512, 2, 2, "Up to 5 Gigabit", 32),
    ("micro", 2, 1024, 2, 2, "Up to 5 Gigabit", 64),
    ("small", 2, 2048, 3, 4, "Up to 5 Gigabit", 128),
    ("medium", 2, 4096, 3, 6, "Up to 5 Gigabit", 256),
    ("large", 2, 8192, 3, 12, "Up to 5 Gigabit", 512),
    ("xlarge", 4, 16384, 4, 15, "Up to 5 Gigabit", 1024),
    ("2xlarge", 8, 32768, 4, 15, "Up to 5 Gigabit", 2048),
];
const T2: &[Size] = &[
    ("nano", 1, 512, 2, 2, "Low to Moderate", 32),
    ("micro", 1, 1024, 2, 2, "Low to Moderate", 64),
    ("small", 1, 2048, 3, 4, "Low to Moderate", 128),
    ("medium", 2, 4096, 3, 6, "Low to Moderate", 256),
    ("large", 2, 8192, 3, 12, "Low to Moderate", 512),
];
const M5: &[Size] = &[
    ("large", 2, 8192, 3, 10, "Up to 10 Gigabit", 750),
    ("xlarge", 4, 16384, 4, 15, "Up to 10 Gigabit", 1250),
    ("2xlarge", 8, 32768, 4, 15, "Up to 10 Gigabit", 2500),
    ("4xlarge", 16, 65536, 8, 30, "Up to 10 Gigabit", 5000),
    ("8xlarge", 32, 131_072, 8, 30, "10 Gigabit", 10000),
    ("12xlarge", 48, 196_608, 8, 30, "12 Gigabit", 12000),
    ("16xlarge", 64, 262_144, 15, 50, "20 Gigabit", 20000),
    ("24xlarge", 96, 393_216, 15, 50, "25 Gigabit", 25000),
];
const C5: &[Size] = &[
    ("large", 2, 4096, 3, 10, "Up to 10 Gigabit", 750),
    ("xlarge", 4, 8192, 4, 15, "Up to 10 Gigabit", 1250),
    ("2xlarge", 8, 16384, 4, 15, "Up to 10 Gigabit", 2500),
    ("4xlarge", 16, 32768, 8, 30, "Up to 10 Gigabit", 5000),
    ("9xlarge", 36, 73728, 8, 30, "12 Gigabit", 12000),
    ("12xlarge", 48, 98304, 8, 30, "12 Gigabit", 12000),
    ("18xlarge", 72, 147_456, 15, 50, "25 Gigabit", 25000),
    ("24xlarge", 96, 196_608, 15, 50, "25 Gigabit", 25000),
];
const R5: &[Size] = &[
    ("large", 2, 16384, 3, 10, "Up to 10 Gigabit", 750),
    ("xlarge", 4, 32768, 4, 15, "Up to 10 Gigabit", 1250),
    ("2xlarge", 8, 65536, 4, 15, "Up to 10 Gigabit", 2500),
    ("4xlarge", 16, 131_072, 8, 30, "Up to 10 Gigabit", 5000),
    ("8xlarge", 32, 262_144, 8, 30, "10 Gigabit", 10000),
    ("12xlarge", 48, 393_216, 8, 30, "12 Gigabit", 12000),
    ("16xlarge", 64, 524_288, 15, 50, "20 Gigabit", 20000),
    ("24xlarge", 96, 786_432, 15, 50, "25 Gigabit", 25000),
];
const FAMILIES: &[(&str, u32, u32, bool, &[Size])] = &[
    ("t2", 1, 2500, true, T2),
    ("t3", 2, 2500, true, T3),
    ("m5", 2, 3100, false, M5),
    ("c5", 2, 3400, false, C5),
    ("r5", 2, 3100, false, R5),
];

/// The types that come with Awan. Source: "Amazon EC2 instance types" (General purpose, Compute optimized, Memory
/// optimized specifications), EC2 documentation.
pub fn builtin() -> Vec<InstanceType> {
    let of_family = |(family, threads, clock_mhz, burstable, sizes): &(&str, u32, u32, bool, &[Size])| {
        let (threads, clock_mhz, burstable, family) = (*threads, *clock_mhz, *burstable, (*family).to_owned());
        let of_size = move |&(size, vcpus, memory_mib, interfaces, addresses, network, mbps): &Size| InstanceType {
            home: Home::installation(),
            id: format!("{family}.{size}"),
            vcpus,
            threads_per_core: threads.min(vcpus),
            memory_mib,
            burstable,
            max_interfaces: interfaces,
            addresses_per_interface: addresses,
            network_performance: network.to_owned(),
            baseline_mbps: mbps,
            clock_mhz,
            free_tier: matches!((&*family, size), ("t2" | "t3", "micro")),
            local_disk_gib: 0,
        };
        sizes.iter().map(of_size).collect::<Vec<_>>()
    };
    FAMILIES.iter().flat_map(of_family).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_how_much_goes_at_most() {
        let peak = |id: &str| builtin().into_iter().find(|t| t.id == id).expect("a type").peak_mbps();
        let all = ["t2.nano", "t3.micro", "m5.large", "c5.9xlarge", "r5.24xlarge"].map(peak);
        assert_eq!(all, [1_024, 5_000, 10_000, 12_000, 25_000].map(Some));
        for kind in builtin() {
            assert!(kind.peak_mbps().is_some_and(|peak| peak >= kind.baseline_mbps), "{}", kind.id);
        }
    }

    #[test]
    fn the_families_that_everybody_uses_are_there_once_each() {
        let names: Vec<_> = builtin().into_iter().map(|t| t.id).collect();
        for name in ["t2.micro", "t3.nano", "t3.2xlarge", "m5.large", "c5.9xlarge", "r5.24xlarge"] {
            assert_eq!(names.iter().filter(|n| *n == name).count(), 1, "{name}");
        }
        assert_eq!(names.len(), 36);
    }
}
