"""Packaging: the four top-level folders are installed as the namespace package ``telebeam``.

There is no folder named ``telebeam`` in the checkout and no ``__init__.py`` at its root, so ``import io``
stays the standard library's.  Beam workers install this file through ``--setup_file``.
"""

from pathlib import Path

from setuptools import find_namespace_packages, setup

TOP = ("pipelines", "transforms", "io", "dashboards")


def packages() -> list[str]:
    """Every package below the four folders, under its installed name."""
    inner = find_namespace_packages(".", include=[pattern for top in TOP for pattern in (top, f"{top}.*")])
    return [f"telebeam.{name}" for name in inner if (Path(*name.split(".")) / "__init__.py").exists()]


setup(
    name="telebeam",
    version="0.1.0",
    description="Columnar Apache Beam pipelines for IoT telemetry: the same rows in batch and stream.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=packages(),
    package_dir={f"telebeam.{top}": top for top in TOP},
    package_data={f"telebeam.{top}": ["py.typed", "**/*.pyi", "**/*.json", "**/*.yaml", "**/*.js"] for top in TOP},
    entry_points={"console_scripts": ["telebeam = telebeam.pipelines.cli:main"]},
    # What a worker needs, loosely; requirements.txt pins the tested set.  docs/dependencies.md gives each one's reason.
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "pyarrow>=25,<26",
        "numpy>=2,<2.5",
        "pydantic>=2.10,<3",
        "pyyaml>=6,<7",
        "msgspec>=0.21,<1",
        "lazy-loader>=0.4,<1",
        "pint>=0.25,<1",
        "influxdb-client>=1.50,<2",
        "urllib3>=2,<3",
        "typer>=0.20,<1",
        "rich>=14,<16",
    ],
    extras_require={
        "kafka": ["confluent-kafka>=2.16,<3"],
        "pubsub": ["google-cloud-pubsub>=2.44,<3", "grpcio>=1.75,<2"],
        "dataflow": ["apache-beam[gcp]>=2.77,<2.78", "build>=1.3,<2", "setuptools>=77"],
        "ml": ["scikit-learn>=1.7,<2"],
        "formats": ["fastavro>=1.10,<2", "protobuf>=5,<8", "zstandard>=0.23,<1"],
        "devices": ["jsonschema-rs>=0.60,<1", "mini-racer>=0.14,<0.15"],
        "analyst": ["duckdb>=2,<3", "pandas>=3,<4"],
        "dev": [
            "apache-beam[gcp]==2.77.0",
            "confluent-kafka==2.16.1",
            "duckdb==2.0.0",
            "pandas==3.1.1",
            "pytest==9.2.0",
            "pytest-xdist==3.8.0",
            "google-cloud-pubsub==2.44.0",
            "scikit-learn==1.9.1",
            "fastavro==1.13.1",
            "protobuf==6.33.6",
            "zstandard==0.25.0",
            "jsonschema-rs==0.60.3",
            "mini-racer==0.14.1",
            "cbor2==6.2.1",
            "hypothesis==6.170.15",
            "moto[server]==5.2.5",
            "ruff==0.17.5",
            "mypy==2.4.1",
            "types-PyYAML==6.0.12.20261113",
            "types-protobuf==7.35.1.20260906",
            "pandas-stubs==3.1.0.261029",
            "build==1.6.1",
            "setuptools==84.2.1",
        ],
    },
)
