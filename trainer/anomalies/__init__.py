"""Anomalies made for training: cut from seen defects, drawn by formula, blended into good parts."""
