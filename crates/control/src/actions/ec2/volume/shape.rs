//! What volumes of each type can be. Source: "Amazon EBS volume types", EBS user guide, and the API reference of
//! CreateVolume.

use awan_model::id::SnapshotId;
use awan_model::volume::Shape;

use crate::error::{Code, Result, combination, invalid, invalid_value, missing, refuse};

/// What a request says about a volume.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    pub iops: Option<i32>,
    pub throughput: Option<i32>,
}

struct Kind {
    name: &'static str,
    size_gib: (u32, u32),
    iops: Iops,
}

enum Iops {
    /// Nobody says how many.
    Open,
    /// They follow from the size: gp2 has 3 per GiB.
    BySize,
    /// Bounds, the most per GiB, and what is given where none are asked for.
    Provisioned { bounds: (u32, u32), per_gib: u32, default: Option<u32> },
}

const KINDS: [Kind; 7] = [
    Kind { name: "gp2", size_gib: (1, 16_384), iops: Iops::BySize },
    Kind {
        name: "gp3",
        size_gib: (1, 65_536),
        iops: Iops::Provisioned { bounds: (3_000, 80_000), per_gib: 500, default: Some(3_000) },
    },
    Kind {
        name: "io1",
        size_gib: (4, 16_384),
        iops: Iops::Provisioned { bounds: (100, 64_000), per_gib: 50, default: None },
    },
    Kind {
        name: "io2",
        size_gib: (4, 65_536),
        iops: Iops::Provisioned { bounds: (100, 256_000), per_gib: 1_000, default: None },
    },
    Kind { name: "st1", size_gib: (125, 16_384), iops: Iops::Open },
    Kind { name: "sc1", size_gib: (125, 16_384), iops: Iops::Open },
    Kind { name: "standard", size_gib: (1, 1_024), iops: Iops::Open },
];
/// In MiB/s, of gp3.
const THROUGHPUT: (u32, u32) = (125, 2_000);

pub fn shape(kind: &str, size: i32, asked: Asked) -> Result<Shape> {
    let of = KINDS.iter().find(|k| k.name == kind);
    let of = of.ok_or_else(|| invalid_value(kind.chars().take(32).collect::<String>().escape_debug(), "volumeType"))?;
    let size_gib = size_of(of, size)?;
    let iops = iops_of(of, size_gib, asked.iops)?;
    let throughput = throughput_of(of, iops, asked.throughput)?;
    Ok(Shape { size_gib, kind: of.name.to_owned(), iops, throughput })
}

pub fn too_small(size: i32, snapshot: &SnapshotId, least: u32) -> String {
    format!("Volume of size {size}GB is smaller than snapshot '{snapshot}', expect size>= {least}GB")
}

fn size_of(kind: &Kind, size: i32) -> Result<u32> {
    let (name, (min, max)) = (kind.name, kind.size_gib);
    match u32::try_from(size) {
        Ok(gib) if gib > max => {
            Err(invalid(format!("Volume of {gib}GiB is too large for volume type {name}; maximum is {max}GiB")))
        }
        Ok(gib) if gib >= min => Ok(gib),
        _ => Err(invalid(format!("Volume of {size}GiB is too small for volume type {name}; minimum is {min}GiB"))),
    }
}

fn iops_of(kind: &Kind, size_gib: u32, asked: Option<i32>) -> Result<Option<u32>> {
    let Iops::Provisioned { bounds: (min, max), per_gib, default } = kind.iops else {
        if asked.is_some() {
            return Err(combination(format!("The parameter iops is not supported for {} volumes.", kind.name)));
        }
        return Ok(matches!(kind.iops, Iops::BySize).then(|| (size_gib * 3).clamp(100, 16_000)));
    };
    let Some(asked) = asked else { return default.map(Some).ok_or_else(|| missing("iops")) };
    let iops = u32::try_from(asked).unwrap_or(0);
    if iops < min {
        return Err(invalid(format!("Volume iops of {asked} is too low; minimum is {min}.")));
    }
    if iops > max {
        return Err(invalid(format!("Volume iops of {asked} is too high; maximum is {max}.")));
    }
    if Some(iops) != default && iops > size_gib.saturating_mul(per_gib) {
        let ratio = f64::from(iops) / f64::from(size_gib);
        return Err(invalid(format!("Iops to volume size ratio of {ratio:.6} is too high; maximum is {per_gib}")));
    }
    Ok(Some(iops))
}

fn throughput_of(kind: &Kind, iops: Option<u32>, asked: Option<i32>) -> Result<Option<u32>> {
    if kind.name != "gp3" {
        return match asked {
            None => Ok(None),
            Some(_) => {
                Err(combination(format!("The parameter throughput is not supported for {} volumes.", kind.name)))
            }
        };
    }
    let (min, max) = THROUGHPUT;
    let Some(asked) = asked else { return Ok(Some(min)) };
    let throughput = u32::try_from(asked).ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        invalid(format!("Throughput of {asked} MiB/s is out of range; it must be between {min} and {max}."))
    })?;
    if throughput.saturating_mul(4) > iops.unwrap_or(0) {
        let ratio = f64::from(throughput) / f64::from(iops.unwrap_or(1));
        let message =
            format!("Throughput (MiBps) to iops ratio of {ratio:.6} is too high; maximum is 0.250000 MiBps per iops.");
        return Err(invalid(message));
    }
    Ok(Some(throughput))
}

/// EC2's names for devices of hardware virtual machines. Source: "Device names for volumes", EC2 user guide.
pub fn device(name: &str) -> Result<String> {
    let bare = name.strip_prefix("/dev/").unwrap_or(name);
    let letter = |text: &str| text.len() == 1 && text.bytes().all(|b| b.is_ascii_lowercase());
    let fine = match (bare.strip_prefix("sd"), bare.strip_prefix("xvd")) {
        (Some(rest), _) => {
            let digits = rest.get(1..).unwrap_or_default();
            let part = digits.is_empty()
                || (!digits.starts_with('0') && digits.parse::<u8>().is_ok_and(|n| (1..=15).contains(&n)));
            rest.get(..1).is_some_and(letter) && part
        }
        (_, Some(rest)) => {
            letter(rest) || (rest.len() == 2 && rest.starts_with(['b', 'c', 'd']) && rest.get(1..).is_some_and(letter))
        }
        _ => false,
    };
    if fine {
        return Ok(name.to_owned());
    }
    let shown = name.chars().take(64).collect::<String>();
    let shown = shown.escape_debug();
    let message = format!("Value ({shown}) for parameter device is invalid. {shown} is not a valid EBS device name.");
    Err(refuse(Code::InvalidParameterValue, message))
}

/// The names `/dev/sdf`, `sdf` and `/dev/xvdf` are one place to attach to.
pub fn same_place(a: &str, b: &str) -> bool {
    fn place(name: &str) -> String {
        let bare = name.strip_prefix("/dev/").unwrap_or(name);
        bare.strip_prefix("xvd").map_or_else(|| bare.to_owned(), |rest| format!("sd{rest}"))
    }
    place(a) == place(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_limits_and_defaults() {
        let ask = |kind: &str, size, iops, throughput| {
            let shape = shape(kind, size, Asked { iops, throughput });
            shape.map(|s| (s.iops, s.throughput)).map_err(|e| e.code())
        };
        assert_eq!(ask("gp3", 1, None, None), Ok((Some(3_000), Some(125))));
        assert_eq!(ask("gp3", 100, Some(4_000), Some(1_000)), Ok((Some(4_000), Some(1_000))));
        assert_eq!(ask("gp2", 8, None, None), Ok((Some(100), None)));
        assert_eq!(ask("gp2", 1_000, None, None), Ok((Some(3_000), None)));
        assert_eq!(ask("io2", 4, Some(4_000), None), Ok((Some(4_000), None)));
        assert_eq!(ask("st1", 125, None, None), Ok((None, None)));
        let wrong = "InvalidParameterValue";
        for (kind, size, iops, throughput, code) in [
            ("gp4", 1, None, None, wrong),
            ("gp3", 0, None, None, wrong),
            ("gp3", 65_537, None, None, wrong),
            ("gp3", 1, Some(2_999), None, wrong),
            ("gp3", 1, Some(80_001), None, wrong),
            ("gp3", 1, Some(3_500), None, wrong),
            ("gp3", 8, None, Some(1_000), wrong),
            ("gp3", 8, None, Some(124), wrong),
            ("gp2", 8, Some(100), None, "InvalidParameterCombination"),
            ("gp2", 8, None, Some(125), "InvalidParameterCombination"),
            ("io1", 8, None, None, "MissingParameter"),
            ("io1", 8, Some(401), None, wrong),
            ("sc1", 124, None, None, wrong),
            ("standard", 1_025, None, None, wrong),
        ] {
            assert_eq!(ask(kind, size, iops, throughput), Err(code), "{kind} {size} {iops:?} {throughput:?}");
        }
    }

    #[test]
    fn only_ec2s_device_names_are_taken() {
        for fine in ["/dev/sdf", "/dev/sda1", "/dev/sdf15", "xvdb", "/dev/xvda", "/dev/xvdba", "sdz"] {
            assert!(device(fine).is_ok(), "{fine}");
        }
        for bad in [
            "",
            "/dev/",
            "/dev/sd",
            "/dev/sd1",
            "/dev/sdf16",
            "/dev/sdf0",
            "/dev/xvdaa",
            "/dev/xvdf1",
            "/dev/hda",
            "../sdf",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
        assert!(same_place("/dev/sdf", "xvdf") && !same_place("/dev/sdf", "/dev/sdg"));
    }
}
