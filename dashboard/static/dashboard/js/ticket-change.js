/* Changing an order: how it stands, what is to be another, as the API takes it and as a person reads it. */

import * as format from "./format.js";

const TYPES = { LIMIT: "limit", MARKET: "market", SL: "stop", "SL-M": "stop at market" };

export const hasPrice = (type) => type === "LIMIT" || type === "SL";
export const hasTrigger = (type) => type === "SL" || type === "SL-M";

const number = (text) => (text === null ? null : Number(text));

/** The terms of an order that may be changed, as the server tells them. */
export const standing = (order) => ({
  quantity: order.quantity,
  type: order.type,
  price: number(order.price),
  trigger: number(order.trigger),
  validity: order.validity,
});

/** The part of a ticket's state that an order gives; `terms`: where the server told it. */
export function stateOf({ address, order, contract }, terms) {
  const was = standing(order);
  const unit = was.quantity % contract.lot_size ? 1 : contract.lot_size;
  return {
    ...was,
    account: order.account,
    contract,
    side: order.side,
    product: order.product,
    exit: order.is_exit,
    unit,
    lots: was.quantity / unit,
    change: {
      terms,
      address,
      was,
      filled: order.filled,
      left: order.changes_left,
      most: order.most_changes,
      validities: order.validities,
      isElsewhere: order.is_elsewhere,
      over: "", // why nothing of it can be changed any more
    },
  };
}

/** The body of the change, null where nothing differs. What stays is not named, but for the prices of a new type. */
export function changesOf({ change, type, price, trigger, validity }, quantity, protection) {
  const { was } = change;
  const isOther = type !== was.type;
  const changes = {};
  if (quantity !== was.quantity) changes.quantity = quantity;
  if (isOther) changes.order_type = type;
  if (hasPrice(type) && (isOther || price !== was.price)) changes.price = String(price);
  if (hasTrigger(type) && (isOther || trigger !== was.trigger)) changes.trigger_price = String(trigger);
  if (isOther && type === "MARKET") changes.market_protection = protection;
  if (validity !== was.validity) changes.validity = validity;
  return Object.keys(changes).length ? changes : null;
}

/** What is changed, as [name, from, to] in words. */
export function fromAndTo({ change, type, price, trigger, validity }, quantity) {
  const { was } = change;
  const none = (value) => (value === null ? "none" : format.price(value));
  const rows = [["Quantity", format.grouped(was.quantity), format.grouped(quantity)], ["Type", TYPES[was.type], TYPES[type]]];
  if (hasPrice(type)) rows.push(["Price", hasPrice(was.type) ? none(was.price) : "none", none(price)]);
  else if (hasPrice(was.type)) rows.push(["Price", none(was.price), "whatever the market gives, protected"]);
  if (hasTrigger(type)) rows.push(["Trigger", hasTrigger(was.type) ? none(was.trigger) : "none", none(trigger)]);
  else if (hasTrigger(was.type)) rows.push(["Trigger", none(was.trigger), "none"]);
  rows.push(["Validity", was.validity.toLowerCase(), validity.toLowerCase()]);
  return rows.filter(([, from, to]) => from !== to);
}
