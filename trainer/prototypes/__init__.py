"""Prototypes of normal pictures: of places (ProtoAD) and of whole maps (PRN)."""
