internal import CKernels
internal import EspalierBasics

/// How often each of 256 symbols occurs in 4,096, as a table of a coder.
///
/// Coded: the first and the last symbol that occur, then for each between (both included) four bits with the length of
/// its frequency in bits, 0 if it does not occur, then the bits of each frequency below its leading one.
struct FrequencyTable {
  private var frequencies = [UInt16](repeating: 0, count: 256)

  /// - Parameter counts: of 256 symbols, not all 0.
  init(counts: UnsafePointer<UInt32>) { es_entropy_frequencies(counts, &frequencies) }

  /// About what a table with these counts takes, in bits.
  static func bits(counts: UnsafePointer<UInt32>) -> Double {
    var first = 256
    var last = -1
    var used = 0
    for symbol in 0..<256 where counts[symbol] > 0 {
      first = min(first, symbol)
      last = symbol
      used += 1
    }
    return used == 0 ? 0 : Double(16 + 4 * (last - first + 1) + 5 * used)
  }

  func makeEncoder(_ encoder: UnsafeMutablePointer<es_entropy_encoder>) {
    es_entropy_make_encoder(frequencies, encoder)
  }

  /// - Throws: ``Problem`` with code `coding.damaged` if the frequencies are no table.
  func makeDecoder(_ decoder: UnsafeMutablePointer<es_entropy_decoder>) throws(Problem) {
    guard es_entropy_make_decoder(frequencies, decoder) else {
      throw CodedReader.damaged("frequencies do not sum to 4,096")
    }
  }

  /// The last symbol that occurs.
  var last: Int { frequencies.lastIndex { $0 > 0 } ?? 0 }

  func write(to writer: inout CodedWriter) {
    let first = frequencies.firstIndex { $0 > 0 } ?? 0
    writer.append(UInt8(first))
    writer.append(UInt8(last))
    var bits = BitWriter()
    for frequency in frequencies[first...last] {
      bits.append(UInt32(16 - frequency.leadingZeroBitCount), count: 4, to: &writer)
    }
    for frequency in frequencies[first...last] where frequency > 1 {
      let length = 15 - frequency.leadingZeroBitCount
      bits.append(UInt32(frequency) & (1 << UInt32(length) - 1), count: length, to: &writer)
    }
    bits.finish(&writer)
  }

  init(from reader: inout CodedReader) throws(Problem) {
    let first = Int(try reader.byte())
    let last = Int(try reader.byte())
    guard first <= last else { throw CodedReader.damaged("a table of frequencies ends before it begins") }
    var bits = BitReader()
    for symbol in first...last { frequencies[symbol] = UInt16(try bits.take(4, from: &reader)) }
    for symbol in first...last where frequencies[symbol] > 0 {
      let length = Int(frequencies[symbol]) - 1
      frequencies[symbol] = 1 << UInt16(length) | UInt16(try bits.take(length, from: &reader))
    }
  }
}
