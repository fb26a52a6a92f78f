"""boto3 makes its resources from a model of its own. What that model names is walked here: attributes, references,
collections; and which actions and waiters a story called is written down, so that none is forgotten."""

import contextlib
from unittest import mock

import boto3
from boto3.resources.action import BatchAction, ServiceAction, WaiterAction
from boto3.resources.base import ServiceResource
from clients import refused


def definitions(service):
    """Every resource of a service, by name, as boto3's model has it."""
    return boto3.Session()._loader.load_service_model(service, "resources-1", None)["resources"]


def model(thing):
    return thing.meta.resource_model


def kind(thing):
    """Its class: `Instance`, or the service's own name."""
    return model(thing).name


def identity(thing):
    return tuple(getattr(thing, identifier.name) for identifier in model(thing).identifiers)


def promised(thing):
    """The actions and waiters that boto3 gives a thing, and its batch actions where a collection has such things."""
    names = {action.name for action in model(thing).actions} | {waiter.name for waiter in model(thing).waiters}
    held = {many["resource"]["type"] for many in held_by(thing.meta.service_name)}
    return names | {f"all {batch.name}" for batch in model(thing).batch_actions if kind(thing) in held}


def held_by(service):
    loaded = boto3.Session()._loader.load_service_model(service, "resources-1", None)
    return [many for each in [loaded["service"], *loaded["resources"].values()] for many in each.get("hasMany", {}).values()]


@contextlib.contextmanager
def called():
    """Writes down, by class, which actions and waiters came to a good end inside."""
    heard = {}

    def listen(to, name, owner):
        plain = to.__call__

        def call(self, parent, *words, **more):
            answer = plain(self, parent, *words, **more)
            heard.setdefault(owner(parent), set()).add(name(self))
            return answer

        return mock.patch.object(to, "__call__", call)

    with (
        listen(ServiceAction, lambda action: action._action_model.name, kind),
        listen(BatchAction, lambda action: f"all {action._action_model.name}", lambda many: many._model.resource.type),
        listen(WaiterAction, lambda waiter: waiter._waiter_resource_name, kind),
    ):
        yield heard


def walk(thing, empty=(), unsupported=(), not_here=()):
    """Reads all that there is to read of a fresh thing. `empty`: what this one has nothing to show as; `not_here`: what no
    such thing shows yet; `unsupported`: parts that are refused."""
    lazily_loaded(thing)
    shown = set(attributes(thing)) | set(references(thing))
    shown |= {collection.name for collection in model(thing).collections if collected(thing, collection)}
    parts(thing, unsupported)
    readable = {*shape_of(thing), *(part.name for part in [*model(thing).references, *model(thing).collections])}
    nothing = readable - shown - set(not_here)
    assert nothing == set(empty), f"{kind(thing)} shows nothing as {sorted(nothing)}, and {sorted(empty)} was foreseen"


def lazily_loaded(thing):
    """An attribute that is read loads the thing; so does `load`, and `reload` is the same again."""
    if not model(thing).load:
        return
    assert thing.meta.data is None, f"{kind(thing)} is not fresh"
    known = {identifier.member_name for identifier in model(thing).identifiers}
    unknown = [name for name in shape_of(thing) if name not in known]
    if unknown:
        getattr(thing, unknown[0])
        assert thing.meta.data, f"{kind(thing)} was not loaded by reading it"
    thing.load()
    thing.reload()


def shape_of(thing):
    """Its attributes: by name, the member of the answer that each shows, and of what kind that is."""
    shape = model(thing).shape
    return model(thing).get_attributes(thing.meta.client.meta.service_model.shape_for(shape)) if shape else {}


def attributes(thing):
    """Names of those that say something."""
    return [name for name in shape_of(thing) if getattr(thing, name) not in (None, [], {})]


def references(thing):
    """What it points at is there: it loads, and has the identity by which it was named."""
    for reference in model(thing).references:
        found = getattr(thing, reference.name)
        for one in found if isinstance(found, list) else [found]:
            if one is not None:
                assert kind(one) == reference.resource.type
                assert all(identity(one)), f"{one} has no name"
                if model(one).load:
                    one.load()
        if found:
            yield reference.name


def parts(thing, unsupported):
    """What it is a part of, or has as its part, without being asked for a name."""
    for part in model(thing).subresources:
        if all(identifier.source == "identifier" for identifier in part.resource.identifiers):
            found = getattr(thing, part.name)()
            assert kind(found) == part.resource.type and all(identity(found))
            if part.name in unsupported:
                with refused("UnsupportedOperation"):
                    found.load()
            elif model(found).load:
                found.load()


def collected(thing, collection):
    """All members, which each way of asking for them finds alike."""
    many = getattr(thing, collection.name)
    everything = list(many.all())
    names = [identity(one) for one in everything]
    assert all(isinstance(one, ServiceResource) and kind(one) == collection.resource.type for one in everything)
    assert len(set(names)) == len(names), f"{collection.name} has one twice: {names}"
    assert {identity(one) for one in many.filter()} == set(names)
    assert sorted(identity(one) for page in many.page_size(5).pages() for one in page) == sorted(names)
    assert len(list(many.limit(1))) == min(1, len(names))
    if asks(thing, collection, "Filters"):
        wanted = {identity(one) for one in everything if any(tag["Key"] == "Name" for tag in tags(one))}
        found = {identity(one) for one in many.filter(Filters=[{"Name": "tag-key", "Values": ["Name"]}])}
        assert found == wanted, f"{collection.name} by tag: {found}, not {wanted}"
    return everything


def tags(one):
    return (one.tag_set if hasattr(one, "tag_set") else one.tags) or []


def asks(thing, collection, member):
    operation = thing.meta.client.meta.service_model.operation_model(collection.request.operation)
    return member in operation.input_shape.members
