"""Arithmetic in GF(order), elementwise on integer arrays.

An element is an integer 0..order-1: its digits in base p, the characteristic, are the coefficients
of a polynomial over GF(p). For a prime order this is arithmetic modulo the order.
"""

import functools
import math

import numpy as np

from detox_sim.assignments.repetition import nearest
from detox_sim.catalogue import check_integer


def _least_factor(number: int) -> int:
    factors = range(2, math.isqrt(number) + 1)
    return next((factor for factor in factors if number % factor == 0), number)


def is_prime(number: int) -> bool:
    """Return whether a number is prime.

    Examples
    --------
    >>> [number for number in range(12) if is_prime(number)]
    [2, 3, 5, 7, 11]
    """
    return number > 1 and _least_factor(number) == number


def is_prime_power(number: int) -> bool:
    """Return whether there is a field with this number of elements.

    Examples
    --------
    >>> [number for number in range(12) if is_prime_power(number)]
    [2, 3, 4, 5, 7, 8, 9, 11]
    """
    if number < 2:
        return False
    prime = _least_factor(number)
    while number % prime == 0:
        number //= prime
    return number == 1


def _digit_units(order: int) -> list[int]:
    """Return the values 1, p, p^2, ... of the digits of an element."""
    prime = _least_factor(order)
    return [prime**digit for digit in range(order.bit_length()) if prime**digit < order]


def _check_order(order: int) -> None:
    check_integer("order", order, 2)
    if not is_prime_power(order):
        works = " or ".join(map(str, nearest(order, is_prime_power, 2)))
        raise ValueError(f"the order of a field must be a prime power, got {order}; use {works}")


def add(left, right, order: int) -> np.ndarray:
    """Add elements of GF(order).

    Parameters
    ----------
    left, right : array of int
        Elements 0..order-1; they broadcast.
    order : int
        A prime power.

    Returns
    -------
    numpy.ndarray of int

    Raises
    ------
    ValueError
        When `order` is not a prime power.

    Examples
    --------
    >>> int(add(3, 4, 5)), int(add(3, 4, 8)), int(add(3, 4, 9))
    (2, 7, 7)
    """
    _check_order(order)
    prime, left, right = _least_factor(order), np.asarray(left), np.asarray(right)
    total = np.zeros(np.broadcast_shapes(left.shape, right.shape), dtype=np.int64)
    for unit in _digit_units(order):
        total += (left // unit + right // unit) % prime * unit
    return total


def multiply(left, right, order: int) -> np.ndarray:
    """Multiply elements of GF(order).

    Parameters
    ----------
    left, right : array of int
        Elements 0..order-1; they broadcast.
    order : int
        A prime power.

    Returns
    -------
    numpy.ndarray of int

    Raises
    ------
    ValueError
        When `order` is not a prime power.

    Examples
    --------
    >>> int(multiply(3, 4, 5)), int(multiply(2, 2, 4))
    (2, 3)
    """
    _check_order(order)
    powers = _powers(order)
    logarithms = np.zeros(order, dtype=np.int64)
    logarithms[powers] = np.arange(order - 1)
    left, right = np.asarray(left), np.asarray(right)
    product = powers[(logarithms[left] + logarithms[right]) % (order - 1)]
    return np.where((left == 0) | (right == 0), 0, product)


@functools.cache
def _powers(order: int) -> np.ndarray:
    """Return 1, x, x^2, ... (order - 1,): all elements other than zero.

    Polynomials are taken modulo x^n - tail, for the first tail with which the powers of x reach
    every element; that polynomial is primitive.
    """
    prime, elements = _least_factor(order), np.arange(order)
    top, scalars = order // prime, np.arange(prime)
    for tail in range(1, order):
        carried = np.sum(
            [scalars * (tail // unit) % prime * unit for unit in _digit_units(order)], axis=0
        )
        times_x = add(elements % top * prime, carried[elements // top], order).tolist()
        powers = [1]
        while (power := times_x[powers[-1]]) > 1 and len(powers) < order - 1:
            powers.append(power)
        if power == 1 and len(powers) == order - 1:
            break
    return np.array(powers)
