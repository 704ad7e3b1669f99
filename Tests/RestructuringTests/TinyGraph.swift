import EspalierBasics
import EspalierCheckpoints
import EspalierRestructuring
import Foundation

/// Computes a graph plainly: values are `[channels][positions]`, convolutions are of one dimension and keep the length.
struct TinyGraph {
  struct Tensor {
    var shape: [Int]
    var values: [Double]
  }

  let graph: CouplingGraph
  var tensors: [String: Tensor]

  func outputs(of inputs: [String: [[Double]]]) -> [[[Double]]] {
    var values = inputs
    for node in graph.nodes { values[node.name] = compute(node.operation, node.inputs.map { values[$0]! }) }
    return graph.outputs.map { values[$0]! }
  }

  private func compute(_ operation: CouplingGraph.Operation, _ inputs: [[[Double]]]) -> [[Double]] {
    let input = inputs[0]
    switch operation {
    case .linear(let weight, let bias, let isTurned):
      let matrix = tensors[weight]!
      let count = matrix.shape[isTurned ? 1 : 0]
      return (0..<count).map { output in
        input[0].indices.map { position in
          var sum = bias.map { tensors[$0]!.values[output] } ?? 0
          for (entry, channel) in input.enumerated() {
            sum +=
              channel[position]
              * matrix.values[isTurned ? entry * count + output : output * input.count + entry]
          }
          return sum
        }
      }
    case .convolution(let weight, let bias, let groups):
      let filters = tensors[weight]!
      let (perGroup, size) = (filters.shape[1], filters.shape[2])
      let outputsPerGroup = filters.shape[0] / groups
      return (0..<filters.shape[0]).map { output in
        input[0].indices.map { position in
          var sum = bias.map { tensors[$0]!.values[output] } ?? 0
          for entry in 0..<perGroup {
            let channel = input[output / outputsPerGroup * perGroup + entry]
            for tap in 0..<size where channel.indices.contains(position + tap - size / 2) {
              sum += channel[position + tap - size / 2] * filters.values[(output * perGroup + entry) * size + tap]
            }
          }
          return sum
        }
      }
    case .embedding: return input
    case .channelwise(let names):
      // Weight, bias, mean, variance, as far as there are so many.
      func value(_ place: Int, _ channel: Int, or standard: Double) -> Double {
        names.indices.contains(place) ? tensors[names[place]]!.values[channel] : standard
      }
      return input.enumerated().map { channel, row in
        row.map {
          ($0 - value(2, channel, or: 0)) / (value(3, channel, or: 1) + 1e-5).squareRoot()
            * value(0, channel, or: 1) + value(1, channel, or: 0)
        }
      }
    case .elementwise: return input.map { $0.map { max(0, $0) } }
    case .together:
      return inputs.dropFirst().reduce(input) { sum, other in
        zip(sum, other).map { zip($0, $1).map { $0 + $1 } }
      }
    case .concatenation: return Array(inputs.joined())
    case .flatten: return input.flatMap { row in row.map { [$0] } }
    case .slice(let start, let count): return Array(input[start..<start + count])
    case .attention(let heads, let keyValueHeads): return attention(inputs, heads, keyValueHeads)
    }
  }

  private func attention(_ inputs: [[[Double]]], _ heads: Int, _ keyValueHeads: Int) -> [[Double]] {
    let (queries, keys, values) = (inputs[0], inputs[1], inputs[2])
    let (size, width) = (queries.count / max(1, heads), values.count / max(1, keyValueHeads))
    var result: [[Double]] = []
    for head in 0..<heads {
      let other = head / (heads / keyValueHeads)
      let length = queries[0].count
      let weights = (0..<length).map { a in
        let scores = (0..<length).map { b in
          exp((0..<size).reduce(0.0) { $0 + queries[head * size + $1][a] * keys[other * size + $1][b] })
        }
        let sum = scores.reduce(0, +)
        return scores.map { $0 / sum }
      }
      for channel in 0..<width {
        let row = values[other * width + channel]
        result.append((0..<length).map { a in zip(weights[a], row).reduce(0) { $0 + $1.0 * $1.1 } })
      }
    }
    return result
  }
}
