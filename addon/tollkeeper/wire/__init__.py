"""The providers' wire formats, one file a dialect: parse, meter, refusal."""
