"""Commands that measure; each states its claim, the hardware and n."""
