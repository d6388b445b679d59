// The units whose values are known.

const keyOf = ({ layer, unit, part }) => `${layer}.${unit}.${part}`;
const nameOfUnit = ({ layer, unit, part }) => `layer ${layer}, unit ${unit}, ${part}`;

const foundUnits = new Map(data.units.map((unit) => [keyOf(unit), unit]));

const everyUnit = (data.every_unit?.tokens ? data.every_unit.layers : []).flatMap((layer) =>
  Object.keys(layer.parts).flatMap((part) =>
    Array.from({ length: layer.units }, (_, unit) => ({ layer: layer.layer, unit, part })),
  ),
);
// In the order of the buttons that step through them.
const knownUnits = new Map(
  (everyUnit.length ? [...everyUnit, ...data.units] : data.units).map((unit) => [
    keyOf(unit),
    unit,
  ]),
);

/** The values of a unit after each token, -127 to 127; of all units, only the beginning is known. */
async function unitValues(key) {
  if (foundUnits.has(key)) return unpack(foundUnits.get(key).values);
  const { layer, unit, part } = knownUnits.get(key);
  const { tokens, layers } = data.every_unit;
  const values = await unpack(layers.find((other) => other.layer === layer).parts[part]);
  return values.subarray(unit * tokens, (unit + 1) * tokens);
}

/** The part of a unit to show: the one that was found, or the first known; null if none is. */
function unitOfLayer(layer, unit) {
  const known = (units) => units.find((other) => other.layer === layer && other.unit === unit);
  return known(data.units) ?? known(everyUnit) ?? null;
}
