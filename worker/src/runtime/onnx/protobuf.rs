//! Protobuf's wire format, field by field, over bytes that may be anything. It decides what is valid, and is stricter than the runtime's own
//! reader: what that one would read otherwise than this one is refused here.

/// The first number that no field can have: a tag has 32 bits, 3 of them for the wire type.
const FIELD_END: u64 = 1 << 29;

/// What a field holds.
pub(super) enum Value<'a> {
    /// A number.
    Varint(u64),
    /// A message, a text, bytes or packed numbers.
    Bytes(&'a [u8]),
    /// Eight or four bytes, of no interest here.
    Fixed,
}

/// Takes the next field off `rest`.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, &'static str> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Varint(varint(rest)?),
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = varint(rest)?;
            Value::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        _ => return Err("a field has an unknown wire type"),
    };
    match tag >> 3 {
        0 => Err("a field has the number 0"),
        // Other readers drop the bits of a tag above the 32nd, and would see another field than we do.
        FIELD_END.. => Err("a field has a number that is too large"),
        number => Ok(Some((number, value))),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).ok().filter(|&length| length <= rest.len()).ok_or("it ends in the middle of a field")?;
    let (taken, left) = rest.split_at(length);
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first().ok_or("it ends in the middle of a number")?;
        *rest = left;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number is too long")
}
