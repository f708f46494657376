"""The atlas's card for machines: kmod/sources/atlas/croissant.json, in Croissant 1.0 (https://mlcommons.org/croissant).

`python book/_ext/croissant.py` writes it, after a change of the facts. `mlcroissant validate --jsonld FILE` checks it.
"""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import repository

ATLAS = Path(__file__).parents[2] / "kmod" / "sources" / "atlas"
FIELDS = {
    "facts.tsv": {"relation": "Wikidata's property id", "subject": "name", "object": "name of the answer"},
    "aliases.tsv": {"subject": "name", "alias": "another name, which questions use"},
}
CONTEXT = {  # as the specification has it
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate", "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip


def described(name: str) -> dict:
    """A file, with its checksum. Tables are called text: they have no header, and Croissant would look for one."""
    content = (ATLAS / name).read_bytes()
    kind = "application/toml" if name.endswith(".toml") else "text/plain"
    file = {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": kind}
    return file | {"contentSize": f"{len(content)} B", "sha256": hashlib.sha256(content).hexdigest()}


def records(name: str, fields: dict[str, str]) -> dict:
    """The lines of a file, each split at its tabs."""
    own = name.removesuffix(".tsv")
    columns = []
    for i, (field, text) in enumerate(fields.items()):
        source = {"fileObject": {"@id": name}, "extract": {"fileProperty": "lines"}}
        source["transform"] = {"regex": rf"^(?:[^\t]*\t){{{i}}}([^\t\n]*)"}
        column = {"@type": "cr:Field", "@id": f"{own}/{field}", "name": field, "description": text}
        columns.append(column | {"dataType": "sc:Text", "source": source})
    return {"@type": "cr:RecordSet", "@id": own, "name": own, "field": columns}


def card(address: str) -> dict:
    """`address`: the repository's, or ""."""
    text = "True, well-known facts over 29 relations, with sentences to learn each from and others to test it by."
    biases = "It is no sample: nobody drew it by a rule, and what is famous in English-speaking countries is frequent."
    people = "Public persons by name, with occupation, citizenship, birthplace, party or instrument."
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": "kmod-atlas",
        "description": text,
        "license": "https://spdx.org/licenses/Apache-2.0",
        "url": address or "https://arxiv.org/abs/2012.00363",  # the method that it is for
        "version": repository.version(),
        "datePublished": "2026-11-21",
        "creator": {"@type": "sc:Organization", "name": "The kmod developers"},
        "citeAs": "The kmod developers: kmod, modifying memories in Transformer models. See CITATION.cff.",
        "rai:dataCollection": "Facts and phrasings were written for this project.",
        "rai:dataBiases": biases,
        "rai:dataLimitations": "Facts are of the time of writing; phrasings are templates.",
        "rai:personalSensitiveInformation": people,
        "distribution": [described(name) for name in ("facts.tsv", "aliases.tsv", "relations.toml")],
        "recordSet": [records(name, fields) for name, fields in FIELDS.items()],
    }


def text(address: str) -> str:
    return json.dumps(card(address), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (ATLAS / "croissant.json").write_text(text(repository.setting()), "utf-8")
