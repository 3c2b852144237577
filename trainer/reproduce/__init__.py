"""The paper's tables, made again on given data: `trainer-reproduce`."""
