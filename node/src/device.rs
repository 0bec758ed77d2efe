//! What became of the engine's device, for readiness and for `/status`.

use livepeer_media::DeviceStatus;
use livepeer_settings::status::DeviceReport;

/// Ready, or the reason that the operator shows with `NoUsableDevice`.
pub fn ready(device: &DeviceStatus) -> Result<(), String> {
    match device {
        DeviceStatus::Cpu | DeviceStatus::Ready { .. } => Ok(()),
        DeviceStatus::Unusable { reason } => Err(format!("no usable device: {reason}")),
    }
}

/// The device in a status.
#[must_use]
pub fn report(device: &DeviceStatus) -> DeviceReport {
    let (name, usable, reason) = match device {
        DeviceStatus::Cpu => ("cpu", true, ""),
        DeviceStatus::Ready { name } => (name.as_str(), true, ""),
        DeviceStatus::Unusable { reason } => ("", false, reason.as_str()),
    };
    DeviceReport {
        name: name.to_owned(),
        usable,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ready, report};
    use livepeer_media::DeviceStatus;

    #[test]
    fn a_device_that_cannot_be_used_says_why() {
        let broken = DeviceStatus::Unusable {
            reason: "cuInit failed".to_owned(),
        };
        assert_eq!(
            ready(&broken),
            Err("no usable device: cuInit failed".to_owned())
        );
        assert!(!report(&broken).usable);
        assert_eq!(ready(&DeviceStatus::Cpu), Ok(()));
    }
}
